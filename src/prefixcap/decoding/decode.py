"""`decode` and `iter_decode`: continue prefixes as captions with any decoder.

The functions check their arguments, build a `DecodingTask` and pass it to the decoder, which
chooses tokens; the engine runs the rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from prefixcap.decoding.token_decoder import Row, TokenDecoder, decode_rows
from prefixcap.errors import NonFiniteError, PrefixcapError
from prefixcap.interfaces.decoder import DEFAULT_ROWS, DecoderConfig, DecodingTask, Hypothesis
from prefixcap.interfaces.encoder import Encoder, EncoderConfig
from prefixcap.interfaces.language_model import LanguageModel
from prefixcap.interfaces.text_encoder import TextEncoder
from prefixcap.plugin.registry import Registry, default_registry
from prefixcap.plugin.specs import to_spec
from prefixcap.plugin.text_encoders import text_encoder
from prefixcap.util.memory import FEWER_ROWS, out_of_memory

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

Search = Callable[[DecodingTask], Iterator[tuple[int, list[Hypothesis]]]]

__all__ = [
    "DEFAULT_ROWS",
    "DecodingTask",
    "Row",
    "TokenDecoder",
    "collect",
    "decode",
    "decode_rows",
    "iter_decode",
]


def decode(
    model: LanguageModel | PreTrainedModel,
    prefix: Tensor,
    decoder: str | DecoderConfig,
    *,
    tokenizer: Any | None = None,
    max_new_tokens: int = 40,
    stop_ids: Sequence[int] | None = None,
    image_ids: Sequence[str] | None = None,
    seed: int = 0,
    n: int | None = None,
    stop_visible: bool = False,
    max_rows: int = DEFAULT_ROWS,
    features: Tensor | None = None,
    encoder: str | EncoderConfig | Encoder | TextEncoder | None = None,
    null_prefix: Tensor | None = None,
    neighbors: Sequence[Sequence[str]] | None = None,
    registry: Registry | None = None,
) -> list[list[Hypothesis]]:
    """Decode a batch of prefixes.

    Args:
        model: A causal language model of transformers, or a `LanguageModel`. For several calls,
            wrap the former once with `from_transformers`: each call would prepare it again.
        prefix: (B,P,E).
        decoder: A config, or its spec such as "beam:num_beams=5".
        tokenizer: The tokenizer of a model of transformers; without one, captions have no text.
        max_new_tokens: The maximum number of tokens per caption, the stop token included.
        stop_ids: The tokens that end a caption; by default the model's end-of-text tokens.
        image_ids: B names that key the images' random streams; by default "0" to "B-1".
        seed: The seed; the global random state is neither read nor changed.
        n: The number of captions per image; by default the decoder's own.
        stop_visible: Whether the stop token's text belongs to the caption.
        max_rows: The maximum number of hypotheses that are extended together.
        features: (B,D) or (B,N,D), for decoders that use the image's feature.
        encoder: The encoder of the features (or its config or spec, built when needed), for
            decoders that compare captions with the image.
        null_prefix: (P',E), the prefix of an image that is not shown, for decoders that compare
            with the model without the image.
        neighbors: B lists of captions of similar training images, those of the most similar image
            first, for decoders that compare with them.
        registry: Where specs are looked up; by default the installed plugins.

    Returns:
        B lists of hypotheses, best first.

    Raises:
        NonFiniteError: If the prefix, the logits or the scores of some images are NaN or infinite;
            its `captions` are those of the other images.
        PrefixcapError: If the decoder is unknown or the arguments do not fit each other.
    """
    captions = iter_decode(
        model,
        prefix,
        decoder,
        tokenizer=tokenizer,
        max_new_tokens=max_new_tokens,
        stop_ids=stop_ids,
        image_ids=image_ids,
        seed=seed,
        n=n,
        stop_visible=stop_visible,
        max_rows=max_rows,
        features=features,
        encoder=encoder,
        null_prefix=null_prefix,
        neighbors=neighbors,
        registry=registry,
    )
    return collect(captions, len(prefix))


def iter_decode(
    model: LanguageModel | PreTrainedModel,
    prefix: Tensor,
    decoder: str | DecoderConfig,
    *,
    tokenizer: Any | None = None,
    max_new_tokens: int = 40,
    stop_ids: Sequence[int] | None = None,
    image_ids: Sequence[str] | None = None,
    seed: int = 0,
    n: int | None = None,
    stop_visible: bool = False,
    max_rows: int = DEFAULT_ROWS,
    features: Tensor | None = None,
    encoder: str | EncoderConfig | Encoder | TextEncoder | None = None,
    null_prefix: Tensor | None = None,
    neighbors: Sequence[Sequence[str]] | None = None,
    registry: Registry | None = None,
) -> Iterator[tuple[int, list[Hypothesis]]]:
    """Decode as `decode` does; yield each image's number and hypotheses as they finish.

    A `NonFiniteError` is raised after the captions of all other images.
    """
    import torch

    lm = _language_model(model, tokenizer)
    config = (registry or default_registry()).parse(DecoderConfig, decoder)
    ids = [str(i) for i in range(len(prefix))] if image_ids is None else list(image_ids)
    if encoder is not None:
        encoder = text_encoder(encoder, device=str(prefix.device), registry=registry)
    task = DecodingTask(
        lm=lm,
        prefix=prefix.to(lm.device),
        image_ids=ids,
        max_new_tokens=max_new_tokens,
        stop_ids=frozenset(lm.eos_ids if stop_ids is None else stop_ids),
        stop_visible=stop_visible,
        seed=seed,
        stream=to_spec(config),
        max_rows=max_rows,
        features=features,
        text_encoder=encoder,
        n=n,
        null_prefix=None if null_prefix is None else null_prefix.to(lm.device),
        neighbors=neighbors,
    )
    _check(task)
    _check_neighbors(task, config)
    search, together = config.build().decode, config.batch_dependent()

    # The decorator enters inference mode for each step only, so the caller's code between two
    # yields runs in the caller's own mode.
    @torch.inference_mode()
    def run() -> Iterator[tuple[int, list[Hypothesis]]]:
        yield from _decode_finite(task, search, together=together)

    yield from run()


def _decode_finite(
    task: DecodingTask, search: Search, *, together: bool
) -> Iterator[tuple[int, list[Hypothesis]]]:
    """Decode; start again without the images whose numbers are not finite, and raise at the end.

    Captions do not depend on the batch, so what is decoded again is the same. `together` says that
    they do: then an image that is done stays in the batch.
    """
    captions: dict[int, list[Hypothesis]] = {}
    finite = task.prefix.isfinite().flatten(1).all(1).tolist()
    failed = {image: "the values of the prefix" for image, good in enumerate(finite) if not good}
    while True:
        rows = [
            image
            for image in range(len(task.prefix))
            if image not in failed and (together or image not in captions)
        ]
        if failed and not rows:
            break
        done = set(captions)  # by earlier runs of the search
        try:
            for row, hypotheses in search(task.part(rows)):
                image = rows[row]
                scores = [number for h in hypotheses for number in (h.logprob, h.score)]
                if not all(map(math.isfinite, scores)):
                    failed[image] = "the scores of the captions"
                elif image not in done:
                    captions[image] = hypotheses
                    yield image, hypotheses
            break
        except NonFiniteError as error:
            if not error.images:  # nothing can be left out, so it would be raised forever
                raise
            failed |= {rows[row]: error.found for row in error.images}
        except (MemoryError, RuntimeError, ValueError) as error:
            if out_of_memory(error):
                raise PrefixcapError(
                    f"there is not enough memory to decode {len(rows)} images: {FEWER_ROWS}; "
                    "finished captions are kept"
                ) from error
            raise
    if failed:
        images = {image: task.image_ids[image] for image in sorted(failed)}
        raise NonFiniteError(images, failed[min(failed)], captions)


def collect(
    captions: Iterable[tuple[int, list[Hypothesis]]], images: int
) -> list[list[Hypothesis]]:
    """Return what a decoder yields, in the order of the images.

    Raises:
        PrefixcapError: If the decoder left out an image.
    """
    by_image = dict(captions)
    missing = [image for image in range(images) if image not in by_image]
    if missing:
        raise PrefixcapError(
            f"the decoder returned nothing for {len(missing)} images: {missing[:5]}"
        )
    return [by_image[image] for image in range(images)]


def _language_model(model: Any, tokenizer: Any) -> LanguageModel:
    if isinstance(model, LanguageModel):
        if tokenizer is not None:
            raise PrefixcapError("this language model has its own tokenizer: leave out `tokenizer`")
        return model
    if not hasattr(model, "get_input_embeddings"):
        raise PrefixcapError(
            "decode needs a LanguageModel or a causal language model of transformers, not "
            f"{type(model).__name__}"
        )
    from prefixcap.engine.causal_lm import from_transformers

    return from_transformers(model, tokenizer)


def _check(task: DecodingTask) -> None:
    lm, images, features = task.lm, len(task.prefix), task.features
    if task.prefix.ndim != 3 or task.prefix.shape[-1] != lm.width:
        raise PrefixcapError(
            f"a prefix must be of shape (B,P,{lm.width}), not {tuple(task.prefix.shape)}"
        )
    if lm.prepend_tokens(task.prefix[:1]).shape[1] < 1:
        raise PrefixcapError("a prefix must have at least one position, but this one has none")
    null, length = task.null_prefix, task.prefix.shape[1]
    if null is not None and not (
        null.ndim == 2 and null.shape[1] == lm.width and 1 <= len(null) <= length
    ):
        raise PrefixcapError(
            f"null_prefix must be of shape (P',{lm.width}) with at most {length} positions, as the "
            f"prefix has, not {tuple(null.shape)}"
        )
    if len(task.image_ids) != images:
        raise PrefixcapError(f"{len(task.image_ids)} image ids were given for {images} prefixes")
    if features is not None and len(features) != images:
        raise PrefixcapError(f"features of {len(features)} images were given for {images} prefixes")
    for name in ("n", "max_rows", "max_new_tokens"):
        value = getattr(task, name)
        if value is not None and value < 1:
            raise PrefixcapError(f"{name} must be at least 1, not {value}")
    if unknown := sorted(token for token in task.stop_ids if not 0 <= token < lm.vocab_size):
        raise PrefixcapError(
            f"the stop token {unknown[0]} is not in the vocabulary of {lm.vocab_size}"
        )
    # Most decoders never run the last token, but contrastive search runs all candidates for it.
    length = lm.positions(task.prefix)
    longest = length + task.max_new_tokens
    if lm.max_positions is not None and longest > lm.max_positions:
        raise PrefixcapError(
            f"a prefix of {length} and {task.max_new_tokens} new tokens need {longest} positions; "
            f"the language model has {lm.max_positions}: lower max_new_tokens"
        )


def _check_neighbors(task: DecodingTask, config: DecoderConfig) -> None:
    images, neighbors = len(task.prefix), task.neighbors
    if neighbors is not None and len(neighbors) != images:
        raise PrefixcapError(
            f"neighbors of {len(neighbors)} images were given for {images} prefixes"
        )
    if neighbors is None and (count := config.neighbor_captions()):
        raise PrefixcapError(
            f"{to_spec(config)} reads {count} captions of similar training images, which are "
            "missing: `prefixcap bench` finds them; in Python, give `neighbors`"
        )
