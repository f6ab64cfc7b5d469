"""Beam search."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs

from prefixcap.config import at_least, one_of
from prefixcap.kinds import Decoder
from prefixcap_decoders.controls import Controlled
from prefixcap_decoders.lengths import LENGTH_NORMS

EARLY_STOPPING = ("false", "true", "never")


def _word(value: Any) -> str:
    return str(value).lower()


@attrs.frozen(kw_only=True)
class Beam(Controlled):
    """Keeps the best few hypotheses at each step; the same search as transformers' `generate`.

    Attributes:
        num_beams: how many hypotheses are kept.
        length_penalty: a hypothesis of T tokens (stop token included) and log-probability L has
            the score L / T**length_penalty; above 0 favours long captions, 0 is the plain sum.
        length_norm: "power" as said, "gnmt" for ((5 + T) / 6)**length_penalty, or "none".
        early_stopping: when an image is done: "true" once `num_beams` hypotheses have ended,
            "false" once no live one is likely to beat them at its present length, "never" once
            none can beat them at any length (exact for penalties of 0 and more).
        n: how many captions an image, best first; at most `num_beams`.
    """

    name: ClassVar[str] = "beam"

    num_beams: int = attrs.field(default=5, validator=at_least(1))
    length_penalty: float = 1.0
    length_norm: str = attrs.field(default="power", validator=one_of(LENGTH_NORMS))
    early_stopping: str = attrs.field(
        default="false", converter=_word, validator=one_of(EARLY_STOPPING)
    )
    n: int = attrs.field(default=1, validator=at_least(1))

    def __attrs_post_init__(self) -> None:
        if self.n > self.num_beams:
            raise ValueError(f"n must be at most num_beams ({self.num_beams}), not {self.n}")

    def build(self) -> Decoder:
        """Makes the decoder."""
        from prefixcap_decoders.beam_search import BeamDecoder

        return BeamDecoder(self)
