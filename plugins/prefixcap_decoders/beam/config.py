"""Configs of beam search and diverse beam search."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
from typing_extensions import override

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.decoder import Decoder
from prefixcap.interfaces.validators import at_least, one_of
from prefixcap_decoders.beam.ranking import LENGTH_NORMS, PENALTY
from prefixcap_decoders.logits.settings import Controlled

EARLY_STOPPING = ("false", "true", "never")


def _lower(value: Any) -> str:
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
        num_beams: Number of hypotheses kept at each step.
        length_penalty: Exponent of the length T (stop token included) in the score
            log-probability / T**length_penalty: 0 is the sum, 1 the mean, more favors length.
        length_norm: "power" as above, "gnmt" for ((5 + T) / 6)**length_penalty (Wu et al. 2016,
            who recommend 0.6 to 0.7), "none" for the sum.
        early_stopping: When a search ends: "true" once `num_beams` hypotheses have ended, "false"
            once no live one would beat them if it ended now, "never" once none can beat them at
            any length (exact for penalties >= 0). A single beam stops at its first hypothesis.
        n: Number of captions per image, best first; at most `num_beams`.
    """

    num_beams: int = attrs.field(default=5, validator=at_least(1))
    length_penalty: float = attrs.field(default=1.0, converter=float, validator=PENALTY)
    length_norm: str = attrs.field(default="power", validator=one_of(LENGTH_NORMS))
    early_stopping: str = attrs.field(
        default="false", converter=_lower, validator=one_of(EARLY_STOPPING)
    )
    n: int = attrs.field(default=1, validator=at_least(1))

    def __attrs_post_init__(self) -> None:
        if self.n > self.num_beams:
            raise ValueError(f"n must be at most num_beams ({self.num_beams}), not {self.n}")

    def captions(self, n: int | None) -> int:
        """Return the number of captions per image, given a task's `n`.

        Raises:
            PrefixcapError: If there are fewer beams.
        """
        if n is not None and n > self.num_beams:
            raise PrefixcapError(
                f"{self.name}: {n} captions per image were requested, but num_beams is "
                f"{self.num_beams}: raise num_beams or lower n"
            )
        return n or self.n


@attrs.frozen(kw_only=True)
class Beam(BeamBase):
    """Beam search: keep the `num_beams` best hypotheses at each step.

    Graves 2012, "Sequence Transduction with Recurrent Neural Networks" (arXiv:1211.3711); the same
    algorithm as transformers' `generate`. Costs `num_beams` rows per image.
    """

    name: ClassVar[str] = "beam"

    @override
    def build(self) -> Decoder:
        from prefixcap_decoders.beam.decoder import BeamDecoder

        return BeamDecoder(self)


@attrs.frozen(kw_only=True)
class DiverseBeam(BeamBase):
    """Diverse beam search: groups of beams, each penalized for tokens that earlier groups chose.

    Vijayakumar et al. 2016, "Diverse Beam Search" (arXiv:1610.02424), with Hamming diversity. The
    `score` includes the penalties, `logprob` does not. Groups may end in the same caption:
    duplicates are returned only if there are too few different captions.

    Attributes:
        num_groups: Number of groups; a divisor of `num_beams`.
        diversity: Penalty per earlier hypothesis with the token; the paper recommends 0.2 to 0.8.
    """

    name: ClassVar[str] = "diverse-beam"
    version: ClassVar[str] = "2"

    num_groups: int = attrs.field(default=5, validator=[at_least(1), _divides_beams])
    diversity: float = attrs.field(default=0.5, converter=float, validator=at_least(0))

    @override
    def build(self) -> Decoder:
        from prefixcap_decoders.beam.decoder import BeamDecoder

        return BeamDecoder(self, self.num_groups, self.diversity)
