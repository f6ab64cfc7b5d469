"""Decoders: searches and samplers that continue a prefix as captions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs

from prefixcap.interfaces.component import Component
from prefixcap.interfaces.language_model import LanguageModel
from prefixcap.interfaces.session import Session, SessionOptions
from prefixcap.interfaces.sessions.finite_session import finite_session

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from prefixcap.interfaces.text_encoder import TextEncoder


@attrs.frozen(kw_only=True)
class Hypothesis:
    """One caption with its scores.

    Attributes:
        ids: The token ids without the stop token.
        text: The text; "" if the language model has no tokenizer.
        logprob: The model's own sum of log-probabilities in nats, stop token included.
        score: The value that the decoder ranked by; higher is better.
        finish_reason: "stop" if a stop token ended the caption, "length" if the limit did.
        stop_id: The stop token that ended the caption, if one did.
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
        """Yield each image's number (0 to B-1) once, with its hypotheses, best first.

        Images may be yielded in any order, as they finish.
        """


@attrs.frozen(kw_only=True)
class DecoderConfig(Component):
    """The base of decoder configs."""

    kind: ClassVar[str] = "decoder"
    needs_transformers: ClassVar[bool] = False
    """Whether the decoder uses the language model's module, which must be one of transformers'."""

    @abstractmethod
    def build(self) -> Decoder:
        """Build the decoder."""

    def batch_dependent(self) -> bool:
        """Return whether an image's captions depend on the other images in the batch.

        If so, a study decodes all images together, also after an interruption. Also true when a
        wrapped decoder depends on its batch.
        """
        parts = self.subcomponents()
        return any(part.batch_dependent() for part in parts if isinstance(part, DecoderConfig))

    def neighbor_captions(self) -> int:
        """Return how many captions of similar training images the decoder reads for an image."""
        parts = (part for part in self.subcomponents() if isinstance(part, DecoderConfig))
        return max((part.neighbor_captions() for part in parts), default=0)


DEFAULT_ROWS = 320
"""The default maximum number of live rows: 64 images with 5 beams each."""


@attrs.frozen(kw_only=True)
class DecodingTask:
    """The prefixes that a decoder continues, and the settings of the call.

    Attributes:
        lm: The language model.
        prefix: (B,P,E), one prefix per image.
        image_ids: B names; with the seed and the decoder they key each image's random stream.
        max_new_tokens: The maximum number of tokens per caption, the stop token included.
        stop_ids: The tokens that end a caption.
        stop_visible: Whether the stop token's text belongs to the caption (ClipCap's full stop).
        seed: The seed of all randomness.
        stream: The decoder's spec, which keys the random streams.
        max_rows: The maximum number of live rows.
        features: (B,D) or (B,N,D), if the caller has them.
        text_encoder: The text tower of the encoder of these features, if the caller has it.
        n: The number of captions per image; None leaves it to the decoder's config.
        null_prefix: (P',E), the prefix of an image that is not shown, if the caller has one.
        neighbors: B lists of captions of similar training images, those of the most similar image
            first, if the caller has them.
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
    null_prefix: Tensor | None = None
    neighbors: Sequence[Sequence[str]] | None = None

    def images_at_once(self, rows_per_image: int) -> int:
        """Return how many images are decoded together."""
        options = SessionOptions(rows_per_image=rows_per_image, max_rows=self.max_rows)
        return options.images_at_once(len(self.prefix))

    def start(self, rows_per_image: int = 1, *, hidden_states: bool = False) -> Session:
        """Open a session on all images, which are admitted as they fit.

        Reading its logits raises a `NonFiniteError` if they are NaN or infinite; `iter_decode`
        catches it, and decodes the other images.
        """
        options = SessionOptions(
            rows_per_image=rows_per_image,
            max_rows=self.max_rows,
            max_new_tokens=self.max_new_tokens,
            hidden_states=hidden_states,
        )
        return finite_session(self.lm.start(self.prefix, options), self.image_ids)

    def part(self, images: Sequence[int]) -> DecodingTask:
        """Return the task for some of the images (numbers from 0 to B-1), renumbered."""
        if len(images) == len(self.prefix):
            return self
        rows = list(images)
        return attrs.evolve(
            self,
            prefix=self.prefix[rows],
            image_ids=[self.image_ids[image] for image in rows],
            features=None if self.features is None else self.features[rows],
            neighbors=None if self.neighbors is None else [self.neighbors[row] for row in rows],
        )

    def generator(self, image: int) -> np.random.Generator:
        """Return an image's own stream of random numbers, the same in every batch and order."""
        import numpy as np

        key = repr((self.seed, self.image_ids[image], self.stream)).encode()
        return np.random.Generator(np.random.Philox(int.from_bytes(sha256(key).digest()[:16])))

    def hypothesis(
        self, tokens: Sequence[int], logprob: float, score: float | None = None
    ) -> Hypothesis:
        """Build a hypothesis from its tokens, of which the last may be a stop token.

        `score`, the value that the decoder ranks by, is `logprob` by default.
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
