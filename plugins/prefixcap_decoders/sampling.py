"""Sampling from a truncated distribution."""

from __future__ import annotations

from typing import ClassVar

import attrs

from prefixcap.config import above, at_least, between
from prefixcap.kinds import Decoder, DecoderConfig


@attrs.frozen(kw_only=True)
class TopP(DecoderConfig):
    """Nucleus sampling (Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration").

    Each token is drawn from the smallest set of tokens whose probabilities sum to `top_p` or more.

    Attributes:
        top_p: the probability mass of the nucleus.
        temperature: logits are divided by it first; below 1 is bolder, above 1 is wilder.
        top_k: at most so many tokens are left before the nucleus is taken; 0 is no limit.
        n: how many captions an image, each drawn on its own; the likeliest comes first.
    """

    name: ClassVar[str] = "top-p"

    top_p: float = attrs.field(default=0.9, validator=between(0, 1))
    temperature: float = attrs.field(default=1.0, validator=above(0))
    top_k: int = attrs.field(default=0, validator=at_least(0))
    n: int = attrs.field(default=1, validator=at_least(1))

    def build(self) -> Decoder:
        """Makes the decoder."""
        from prefixcap_decoders.sampler import Sampler
        from prefixcap_decoders.truncation import truncations

        return Sampler(
            self.n,
            truncations(temperature=self.temperature, top_k=self.top_k, top_p=self.top_p),
        )
