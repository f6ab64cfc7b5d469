"""Stochastic beam search."""

from __future__ import annotations

from typing import ClassVar

import attrs

from prefixcap.interfaces.decoder import Decoder
from prefixcap.interfaces.validators import at_least
from prefixcap_decoders.logits.settings import TEMPERATURE, Controlled


@attrs.frozen(kw_only=True)
class StochasticBeam(Controlled):
    """Stochastic beam search (Kool et al. 2019, "Stochastic Beams and Where to Find Them").

    Draws `n` different captions without replacement, each set and order exactly as likely as if
    one had drawn from all captions, by a beam search on log-probabilities with Gumbel noise. The
    first is an ordinary sample; `score` is the perturbed log-probability, by which they stand.

    Attributes:
        temperature: logits are divided by it first.
        n: how many captions an image, which is the width of the beam.
    """

    name: ClassVar[str] = "stochastic-beam"

    temperature: float = attrs.field(default=1.0, converter=float, validator=TEMPERATURE)
    n: int = attrs.field(default=5, validator=at_least(1))

    def build(self) -> Decoder:
        """Makes the decoder."""
        from prefixcap_decoders.stochastic_beam.decoder import StochasticSearch

        return StochasticSearch(self)
