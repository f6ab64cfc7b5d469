"""`decode`: from prefixes to hypotheses, by any decoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from prefixcap.decoding.token_decoder import Row, TokenDecoder, decode_rows
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.decoder import DEFAULT_ROWS, DecoderConfig, DecodingTask, Hypothesis
from prefixcap.interfaces.encoder import Encoder, EncoderConfig
from prefixcap.interfaces.language_model import LanguageModel
from prefixcap.interfaces.text_encoder import TextEncoder
from prefixcap.plugin.registry import Registry, default_registry
from prefixcap.plugin.specs import to_spec
from prefixcap.plugin.text_encoders import text_encoder

if TYPE_CHECKING:
    from torch import Tensor

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
    lm: LanguageModel,
    prefix: Tensor,
    decoder: str | DecoderConfig,
    *,
    max_new_tokens: int = 40,
    stop_ids: Sequence[int] | None = None,
    image_ids: Sequence[str] | None = None,
    seed: int = 0,
    n: int | None = None,
    stop_visible: bool = False,
    max_rows: int = DEFAULT_ROWS,
    features: Tensor | None = None,
    encoder: str | EncoderConfig | Encoder | TextEncoder | None = None,
    registry: Registry | None = None,
) -> list[list[Hypothesis]]:
    """Decodes a batch of prefixes.

    Args:
        lm: the language model, such as `from_transformers(model, tokenizer)`.
        prefix: (B,P,E).
        decoder: a config, or its spec such as "beam:num_beams=5".
        max_new_tokens: the most tokens a caption may have, the stop token included.
        stop_ids: the tokens that end a caption; the model's end-of-text tokens unless given.
        image_ids: B names that key the images' random streams; "0" to "B-1" unless given.
        seed: of all randomness; the global random state is neither read nor changed.
        n: how many captions an image; what the decoder's config says unless given.
        stop_visible: whether the stop token's text belongs to the caption.
        max_rows: the most rows (hypotheses being extended) at once.
        features: (B,D) or (B,N,D), for decoders that look at the image again.
        encoder: what made the features (or its config or spec, built when it is needed), for
            decoders that compare captions with the image.
        registry: where a spec is looked up; what is installed unless given.

    Returns:
        B lists of hypotheses, best first.

    Raises:
        PrefixcapError: the decoder is not known, or the arguments do not fit each other.
    """
    return collect(
        iter_decode(
            lm,
            prefix,
            decoder,
            max_new_tokens=max_new_tokens,
            stop_ids=stop_ids,
            image_ids=image_ids,
            seed=seed,
            n=n,
            stop_visible=stop_visible,
            max_rows=max_rows,
            features=features,
            encoder=encoder,
            registry=registry,
        ),
        len(prefix),
    )


def iter_decode(
    lm: LanguageModel,
    prefix: Tensor,
    decoder: str | DecoderConfig,
    *,
    max_new_tokens: int = 40,
    stop_ids: Sequence[int] | None = None,
    image_ids: Sequence[str] | None = None,
    seed: int = 0,
    n: int | None = None,
    stop_visible: bool = False,
    max_rows: int = DEFAULT_ROWS,
    features: Tensor | None = None,
    encoder: str | EncoderConfig | Encoder | TextEncoder | None = None,
    registry: Registry | None = None,
) -> Iterator[tuple[int, list[Hypothesis]]]:
    """Decodes as `decode` does, and yields each image's number and hypotheses as they end."""
    import torch

    config = (registry or default_registry()).parse(DecoderConfig, decoder)
    ids = [str(i) for i in range(len(prefix))] if image_ids is None else list(image_ids)
    stops = lm.eos_ids if stop_ids is None else stop_ids
    _check(lm, prefix, ids, max_new_tokens, stops, n, max_rows, features)
    task = DecodingTask(
        lm=lm,
        prefix=prefix.to(next((p.device for p in lm.module.parameters()), prefix.device)),
        image_ids=ids,
        max_new_tokens=max_new_tokens,
        stop_ids=frozenset(stops),
        stop_visible=stop_visible,
        seed=seed,
        stream=to_spec(config),
        max_rows=max_rows,
        features=features,
        text_encoder=(
            None
            if encoder is None
            else text_encoder(encoder, device=str(prefix.device), registry=registry)
        ),
        n=n,
    )
    found = config.build().decode

    # the decorator enters the mode for each step only: between two, the caller has its own
    @torch.inference_mode()
    def run() -> Iterator[tuple[int, list[Hypothesis]]]:
        yield from found(task)

    yield from run()


def collect(found: Iterator[tuple[int, list[Hypothesis]]], images: int) -> list[list[Hypothesis]]:
    """Puts what a decoder yields into the images' order.

    Raises:
        PrefixcapError: the decoder left out an image.
    """
    by_image = dict(found)
    missing = [image for image in range(images) if image not in by_image]
    if missing:
        raise PrefixcapError(f"the decoder gave nothing for {len(missing)} images: {missing[:5]}")
    return [by_image[image] for image in range(images)]


def _check(
    lm: LanguageModel,
    prefix: Tensor,
    image_ids: Sequence[str],
    max_new_tokens: int,
    stop_ids: Sequence[int],
    n: int | None,
    max_rows: int,
    features: Tensor | None,
) -> None:
    if prefix.ndim != 3 or prefix.shape[-1] != lm.width:
        raise PrefixcapError(
            f"a prefix must be of shape (B,P,{lm.width}), not {tuple(prefix.shape)}"
        )
    if lm.prepend_tokens(prefix[:1]).shape[1] < 1:
        raise PrefixcapError("a prefix must have at least one position, and this one has none")
    if len(image_ids) != len(prefix):
        raise PrefixcapError(f"{len(image_ids)} image ids were given for {len(prefix)} prefixes")
    if features is not None and len(features) != len(prefix):
        raise PrefixcapError(
            f"features of {len(features)} images were given for {len(prefix)} prefixes"
        )
    for name, value in (("n", n), ("max_rows", max_rows)):
        if value is not None and value < 1:
            raise PrefixcapError(f"{name} must be at least 1, not {value}")
    if max_new_tokens < 1:
        raise PrefixcapError(f"max_new_tokens must be at least 1, not {max_new_tokens}")
    wrong = [token for token in stop_ids if not 0 <= token < lm.vocab_size]
    if wrong:
        raise PrefixcapError(
            f"the stop token {wrong[0]} is not in the vocabulary of {lm.vocab_size}"
        )
    # most decoders run no last token, but contrastive search runs every candidate for it
    longest = prefix.shape[1] + max_new_tokens
    if lm.max_positions is not None and longest > lm.max_positions:
        raise PrefixcapError(
            f"a prefix of {prefix.shape[1]} and {max_new_tokens} new tokens need {longest} "
            f"positions; the language model has {lm.max_positions}: lower max_new_tokens"
        )
