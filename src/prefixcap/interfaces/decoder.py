"""TODO."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs

from prefixcap.interfaces.component import Component
from prefixcap.interfaces.language_model import LanguageModel
from prefixcap.interfaces.session import Session, SessionOptions

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from prefixcap.interfaces.text_encoder import TextEncoder


@attrs.frozen(kw_only=True)
class Hypothesis:
    """One caption that a decoder found.

    Attributes:
        ids: the token ids without the stop token.
        text: their text; "" where the language model has no tokenizer.
        logprob: the model's own sum of log-probabilities in nats, stop token included.
        score: what the decoder ranked by; higher is better.
        finish_reason: "stop" where a stop token ended it, "length" where the limit did.
        stop_id: the stop token that ended it, where one did.
    """

    ids: tuple[int, ...]
    text: str
    logprob: float
    score: float
    finish_reason: Literal["stop", "length"]
    stop_id: int | None = attrs.field(default=None, eq=False, repr=False)

    def to_json(self) -> dict[str, Any]:
        """Return what studies store and the shell prints of a caption."""
        return {
            "text": self.text,
            "logprob": self.logprob,
            "score": self.score,
            "finish": self.finish_reason,
            "tokens": len(self.ids) + (self.finish_reason == "stop"),
        }


class Decoder(ABC):
    """A search or a sampler."""

    @abstractmethod
    def decode(self, task: DecodingTask) -> Iterator[tuple[int, list[Hypothesis]]]:
        """Yields each image's number (0 to B-1) once, with its hypotheses, best first.

        Images may come in any order, as they finish.
        """


@attrs.frozen(kw_only=True)
class DecoderConfig(Component):
    """The base of decoder configs."""

    kind: ClassVar[str] = "decoder"
    needs_transformers: ClassVar[bool] = False
    """Whether it reaches into the language model, which then must be one of transformers'."""

    @abstractmethod
    def build(self) -> Decoder:
        """Makes the decoder."""

    def batch_dependent(self) -> bool:
        """Says whether an image's captions depend on the images that are decoded beside it.

        A study then decodes all of them at once, also after it was killed half-way. So it is of a
        decoder that runs another one of which it is so.
        """
        return any(
            part.batch_dependent()
            for part in self.subcomponents()
            if isinstance(part, DecoderConfig)
        )


DEFAULT_ROWS = 320


@attrs.frozen(kw_only=True)
class DecodingTask:
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
        text_encoder: the texts' side of the encoder that made them, likewise.
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
    text_encoder: TextEncoder | None = None
    n: int | None = None

    def start(self, rows_per_image: int = 1, *, hidden_states: bool = False) -> Session:
        """Opens a session on all images, which come in as they fit."""
        options = SessionOptions(
            rows_per_image=rows_per_image,
            max_rows=self.max_rows,
            max_new_tokens=self.max_new_tokens,
            hidden_states=hidden_states,
        )
        return self.lm.start(self.prefix, options)

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
            finish_reason="stop" if stopped else "length",
            stop_id=tokens[-1] if stopped else None,
        )
