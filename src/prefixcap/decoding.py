"""`decode`: from prefixes to hypotheses, by any decoder."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, final

import attrs

from prefixcap.errors import PrefixcapError
from prefixcap.kinds import Decoder, DecoderConfig, Hypothesis, LanguageModel
from prefixcap.registry import Registry
from prefixcap.specs import to_spec

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from prefixcap.session import Session

DEFAULT_ROWS = 320


@attrs.frozen(kw_only=True)
class Task:
    """What a decoder is given.

    Attributes:
        lm: the language model.
        prefix: (B,P,E), one prefix an image.
        image_ids: B names; with the seed and the decoder they key each image's random stream.
        max_new_tokens: the most tokens a caption may have, the stop token included.
        stop_ids: the tokens that end a caption.
        stop_visible: whether the stop token's text belongs to the caption (ClipCap's full stop).
        seed: of all randomness.
        stream: the decoder's spec, which keys the random streams.
        max_rows: the most rows to hold at once.
        features: (B,D) or (B,N,D), where the caller has them.
        n: how many captions an image are wanted; None leaves it to the decoder's config.
    """

    lm: LanguageModel
    prefix: Tensor
    image_ids: Sequence[str]
    max_new_tokens: int
    stop_ids: frozenset[int]
    stop_visible: bool = False
    seed: int = 0
    stream: str = ""
    max_rows: int = DEFAULT_ROWS
    features: Tensor | None = None
    n: int | None = None

    def start(self, rows_per_image: int = 1, *, hidden_states: bool = False) -> Session:
        """Opens a session on all images, which come in as they fit."""
        return self.lm.start(
            self.prefix,
            rows_per_image=rows_per_image,
            max_rows=self.max_rows,
            max_new_tokens=self.max_new_tokens,
            hidden_states=hidden_states,
        )

    def generator(self, image: int) -> np.random.Generator:
        """Makes an image's own stream of random numbers, the same in every batch and order."""
        import numpy as np

        key = repr((self.seed, self.image_ids[image], self.stream)).encode()
        return np.random.Generator(np.random.Philox(int.from_bytes(sha256(key).digest()[:16])))

    def hypothesis(
        self, tokens: Sequence[int], logprob: float, score: float | None = None
    ) -> Hypothesis:
        """Makes a hypothesis of tokens, of which the last may be a stop token.

        Args:
            tokens: the tokens that were chosen.
            logprob: the model's own sum of log-probabilities, of the stop token too.
            score: what the decoder ranks by; `logprob` unless given.
        """
        stopped = bool(tokens) and tokens[-1] in self.stop_ids
        ids = tuple(tokens[:-1] if stopped else tokens)
        visible = tokens if self.stop_visible else ids
        tokenizer = self.lm.tokenizer
        return Hypothesis(
            ids=ids,
            text=tokenizer.decode(visible).strip() if tokenizer else "",
            logprob=logprob,
            score=logprob if score is None else score,
            finish="stop" if stopped else "length",
        )


class TokenDecoder(Decoder):
    """The base of decoders whose rows do not compete: each step chooses one token a row.

    The engine keeps the rows, the limits, the log-probabilities and the refilling of the batch;
    a subclass says which token comes next.
    """

    @property
    @abstractmethod
    def samples(self) -> int:
        """How many captions an image this decoder makes unless a task says `n`."""

    @abstractmethod
    def choose(self, logits: Tensor, uniforms: Tensor, history: Sequence[Sequence[int]]) -> Tensor:
        """Chooses each row's next token.

        Args:
            logits: (R,V), float32.
            uniforms: (R) numbers in [0,1) from each row's own stream, one a step, float64.
            history: the tokens that each row has already.

        Returns:
            (R) int64.
        """

    @final
    def decode(self, task: Task) -> Iterator[tuple[int, list[Hypothesis]]]:
        """Yields each image's hypotheses as soon as all of them have ended, likeliest first."""
        import torch

        count = task.n or self.samples
        session = task.start(count)
        rows: list[_Row] = []
        open_rows: dict[int, int] = {}
        done: dict[int, list[Hypothesis]] = {}
        while (new := session.admit()) or rows:
            first = len(rows)
            parents = list(range(first))
            for offset, image in enumerate(new):
                numbers = task.generator(image).random((count, task.max_new_tokens))
                rows += [_Row(image=image, uniforms=row.tolist()) for row in numbers]
                parents += [first + offset] * count
                open_rows[image], done[image] = count, []
            index = torch.tensor(parents, device=session.logits.device)
            logits = session.logits if not new or count == 1 else session.logits[index]
            uniforms = torch.tensor(
                [row.uniforms[len(row.tokens)] for row in rows], dtype=torch.float64
            ).to(logits.device)
            tokens = self.choose(logits, uniforms, [row.tokens for row in rows])
            chosen = logits.gather(1, tokens[:, None]).squeeze(1) - logits.logsumexp(-1)
            going = []
            for number, (row, token, logprob) in enumerate(
                zip(rows, tokens.tolist(), chosen.tolist(), strict=True)
            ):
                row.tokens.append(token)
                row.logprob += logprob
                if token not in task.stop_ids and len(row.tokens) < task.max_new_tokens:
                    going.append(number)
                    continue
                done[row.image].append(task.hypothesis(row.tokens, row.logprob))
                open_rows[row.image] -= 1
                if not open_rows[row.image]:
                    yield row.image, _ranked(done.pop(row.image))
            rows = [rows[number] for number in going]
            keep = torch.tensor(going, dtype=torch.long, device=index.device)
            if going or session.waiting:
                session.advance(tokens[keep], index[keep])


@attrs.define
class _Row:
    image: int
    uniforms: list[float]
    tokens: list[int] = attrs.field(factory=list)
    logprob: float = 0.0


def _ranked(hypotheses: list[Hypothesis]) -> list[Hypothesis]:
    return sorted(hypotheses, key=lambda h: -h.score)


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
    registry: Registry | None = None,
) -> list[list[Hypothesis]]:
    """Decodes a batch of prefixes.

    Args:
        lm: the language model, such as `from_transformers(model, tokenizer)`.
        prefix: (B,P,E).
        decoder: a config, or its spec such as "beam:num_beams=5".
        max_new_tokens: the most tokens a caption may have, the stop token included.
        stop_ids: the tokens that end a caption; the model's end-of-text token unless given.
        image_ids: B names that key the images' random streams; "0" to "B-1" unless given.
        seed: of all randomness; the global random state is neither read nor changed.
        n: how many captions an image; what the decoder's config says unless given.
        stop_visible: whether the stop token's text belongs to the caption.
        max_rows: the most rows (hypotheses being extended) at once.
        features: (B,D) or (B,N,D), for decoders that look at the image again.
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
    registry: Registry | None = None,
) -> Iterator[tuple[int, list[Hypothesis]]]:
    """Decodes as `decode` does, and yields each image's number and hypotheses as they end."""
    import torch

    config = (registry or Registry()).parse(DecoderConfig, decoder)
    ids = [str(i) for i in range(len(prefix))] if image_ids is None else list(image_ids)
    stops = stop_ids if stop_ids is not None else [] if lm.eos_id is None else [lm.eos_id]
    _check(lm, prefix, ids, max_new_tokens, stops)
    task = Task(
        lm=lm,
        prefix=prefix,
        image_ids=ids,
        max_new_tokens=max_new_tokens,
        stop_ids=frozenset(stops),
        stop_visible=stop_visible,
        seed=seed,
        stream=to_spec(config),
        max_rows=max_rows,
        features=features,
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
) -> None:
    if prefix.ndim != 3 or prefix.shape[-1] != lm.width:
        raise PrefixcapError(
            f"a prefix must be of shape (B,P,{lm.width}), not {tuple(prefix.shape)}"
        )
    if len(image_ids) != len(prefix):
        raise PrefixcapError(f"{len(image_ids)} image ids were given for {len(prefix)} prefixes")
    if max_new_tokens < 1:
        raise PrefixcapError(f"max_new_tokens must be at least 1, not {max_new_tokens}")
    wrong = [token for token in stop_ids if not 0 <= token < lm.vocab_size]
    if wrong:
        raise PrefixcapError(
            f"the stop token {wrong[0]} is not in the vocabulary of {lm.vocab_size}"
        )
    longest = prefix.shape[1] + max_new_tokens
    if lm.max_positions is not None and longest > lm.max_positions:
        raise PrefixcapError(
            f"a prefix of {prefix.shape[1]} and {max_new_tokens} new tokens need {longest} "
            f"positions; the language model has {lm.max_positions}: lower max_new_tokens"
        )
