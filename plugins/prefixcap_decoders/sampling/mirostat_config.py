"""Mirostat."""

from __future__ import annotations

from typing import ClassVar

import attrs

from prefixcap.interfaces.decoder import Decoder
from prefixcap.interfaces.validators import above, at_least, between
from prefixcap_decoders.logits.settings import TEMPERATURE, Controlled


@attrs.frozen(kw_only=True)
class Mirostat(Controlled):
    """Sampling at a steady surprise (Basu et al. 2021, "Mirostat"), in its second, plainer version.

    Tokens more surprising than mu bits are left out (the likeliest always stays); after each
    token, mu goes down by `eta` times what its surprise was above `tau`. It starts at 2 `tau`.

    Attributes:
        tau: the surprise to hold, in bits.
        eta: how fast mu follows.
        temperature: logits are divided by it first.
        n: how many captions an image, each drawn on its own; the likeliest comes first.
    """

    name: ClassVar[str] = "mirostat"

    tau: float = attrs.field(default=3.0, converter=float, validator=above(0))
    eta: float = attrs.field(default=0.1, converter=float, validator=between(0, 1))
    temperature: float = attrs.field(default=1.0, converter=float, validator=TEMPERATURE)
    n: int = attrs.field(default=1, validator=at_least(1))

    def build(self) -> Decoder:
        """Makes the decoder."""
        from prefixcap_decoders.sampling.mirostat import MirostatSampler

        return MirostatSampler(self)
