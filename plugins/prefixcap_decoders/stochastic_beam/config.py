"""Config of stochastic beam search."""

from __future__ import annotations

from typing import ClassVar

import attrs
from typing_extensions import override

from prefixcap.interfaces.decoder import Decoder
from prefixcap.interfaces.validators import at_least
from prefixcap_decoders.logits.settings import TEMPERATURE, Controlled


@attrs.frozen(kw_only=True)
class StochasticBeam(Controlled):
    """Stochastic beam search: sample `n` different captions without replacement.

    Kool et al. 2019, "Stochastic Beams and Where to Find Them" (arXiv:1903.06059): a beam search on
    log-probabilities with Gumbel noise. The order is that of sampling without replacement, so the
    first caption is an ordinary sample; `score` is the perturbed log-probability.

    Attributes:
        temperature: Divisor of the logits.
        n: Number of captions per image, which is the width of the beam.
    """

    name: ClassVar[str] = "stochastic-beam"

    temperature: float = attrs.field(default=1.0, converter=float, validator=TEMPERATURE)
    n: int = attrs.field(default=5, validator=at_least(1))

    @override
    def build(self) -> Decoder:
        from prefixcap_decoders.stochastic_beam.decoder import StochasticSearch

        return StochasticSearch(self)
