"""Beam search."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs

from prefixcap.interfaces.decoder import Decoder
from prefixcap.interfaces.validators import at_least, one_of
from prefixcap_decoders.beam.length_penalty import LENGTH_NORMS, PENALTY
from prefixcap_decoders.logits.settings import Controlled

EARLY_STOPPING = ("false", "true", "never")


def _word(value: Any) -> str:
    return str(value).lower()


def _divides_beams(config: Any, _: attrs.Attribute[Any], value: int) -> None:
    if config.num_beams % value:
        raise ValueError(
            f"num_beams ({config.num_beams}) must be a multiple of num_groups ({value})"
        )


@attrs.frozen(kw_only=True)
class BeamBase(Controlled):
    """The base of beam searches.

    Attributes:
        num_beams: how many hypotheses are kept.
        length_penalty: a hypothesis of T tokens (stop token included) and log-probability L has
            the score L / T**length_penalty; above 0 favours long captions, 0 is the plain sum, 1
            the mean.
        length_norm: "power" as said, "gnmt" for ((5 + T) / 6)**length_penalty (Wu et al. 2016, who
            find 0.6 to 0.7 good), or "none" for the plain sum.
        early_stopping: when an image is done: "true" once `num_beams` hypotheses have ended,
            "false" once no live one would beat them if it ended now, "never" once none can beat
            them at any length (exact for penalties of 0 and more). One beam always stops at
            its first, which makes it greedy search.
        n: how many captions an image, best first; at most `num_beams`.
    """

    num_beams: int = attrs.field(default=5, validator=at_least(1))
    length_penalty: float = attrs.field(default=1.0, converter=float, validator=PENALTY)
    length_norm: str = attrs.field(default="power", validator=one_of(LENGTH_NORMS))
    early_stopping: str = attrs.field(
        default="false", converter=_word, validator=one_of(EARLY_STOPPING)
    )
    n: int = attrs.field(default=1, validator=at_least(1))

    def __attrs_post_init__(self) -> None:
        if self.n > self.num_beams:
            raise ValueError(f"n must be at most num_beams ({self.num_beams}), not {self.n}")


@attrs.frozen(kw_only=True)
class Beam(BeamBase):
    """Beam search (Graves 2012, "Sequence Transduction with Recurrent Neural Networks").

    Keeps the best few hypotheses at each step; the same search as transformers' `generate`.
    """

    name: ClassVar[str] = "beam"

    def build(self) -> Decoder:
        """Makes the decoder."""
        from prefixcap_decoders.beam.decoder import BeamDecoder

        return BeamDecoder(self)


@attrs.frozen(kw_only=True)
class DiverseBeam(BeamBase):
    """Diverse beam search (Vijayakumar et al. 2016, "Diverse Beam Search").

    The beams are parted into groups that search one after the other at each step; a token loses
    `diversity` for each hypothesis of an earlier group that was just extended by it (the paper's
    Hamming diversity). `score` contains these losses, `logprob` does not. Groups may find the same
    caption: different ones are given back before any comes twice.

    Attributes:
        num_groups: how many groups; `num_beams` is a multiple of it.
        diversity: the strength; the paper finds 0.2 to 0.8 good.
    """

    name: ClassVar[str] = "diverse-beam"
    version: ClassVar[str] = "2"

    num_groups: int = attrs.field(default=5, validator=[at_least(1), _divides_beams])
    diversity: float = attrs.field(default=0.5, converter=float, validator=at_least(0))

    def build(self) -> Decoder:
        """Makes the decoder."""
        from prefixcap_decoders.beam.decoder import BeamDecoder

        return BeamDecoder(self, self.num_groups, self.diversity)
