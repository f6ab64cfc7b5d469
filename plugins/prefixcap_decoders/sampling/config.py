"""Sampling: each token is drawn from the model's distribution, or from what is left of it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import attrs

from prefixcap.interfaces.decoder import Decoder
from prefixcap.interfaces.validators import above, at_least, between
from prefixcap_decoders.logits.settings import TEMPERATURE, Controlled


@attrs.frozen(kw_only=True)
class Drawing(Controlled):
    """The base of decoders that draw tokens.

    Attributes:
        temperature: logits are divided by it first; below 1 is bolder, above 1 is wilder.
    """

    temperature: float = attrs.field(default=1.0, converter=float, validator=TEMPERATURE)

    @abstractmethod
    def truncation(self) -> Mapping[str, float]:
        """Returns the settings of `sample` that cut the distribution, by name."""


@attrs.frozen(kw_only=True)
class Truncated(Drawing):
    """The base of decoders with any combination of truncations, applied in this order.

    Attributes:
        top_h: see `top-h`; 1 is off.
        top_k: see `top-k`; 0 is off.
        top_p: see `top-p`; 1 is off.
        min_p: see `min-p`; 0 is off.
        typical_p: see `typical`; 1 is off.
        epsilon: see `epsilon`; 0 is off.
        eta: see `eta`; 0 is off.
    """

    version: ClassVar[str] = "2"

    top_h: float = attrs.field(default=1.0, converter=float, validator=[above(0), between(0, 1)])
    top_k: int = attrs.field(default=0, validator=at_least(0))
    top_p: float = attrs.field(default=1.0, converter=float, validator=between(0, 1))
    min_p: float = attrs.field(default=0.0, converter=float, validator=between(0, 1))
    typical_p: float = attrs.field(
        default=1.0, converter=float, validator=[above(0), between(0, 1)]
    )
    epsilon: float = attrs.field(default=0.0, converter=float, validator=between(0, 0.999))
    eta: float = attrs.field(default=0.0, converter=float, validator=between(0, 0.999))

    def truncation(self) -> Mapping[str, float]:
        """Returns all of them."""
        return {
            "top_h": self.top_h,
            "top_k": self.top_k,
            "top_p": self.top_p,
            "min_p": self.min_p,
            "typical_p": self.typical_p,
            "epsilon": self.epsilon,
            "eta": self.eta,
        }


@attrs.frozen(kw_only=True)
class Sample(Truncated):
    """Sampling with any combination of truncations; alone it draws from the model itself.

    The temperature is that of Ackley et al. 1985, "A Learning Algorithm for Boltzmann Machines";
    each truncation has its paper under its own name.

    Attributes:
        n: how many captions an image, each drawn on its own; the likeliest comes first.
    """

    name: ClassVar[str] = "sample"

    n: int = attrs.field(default=1, validator=at_least(1))

    def build(self) -> Decoder:
        """Makes the decoder."""
        from prefixcap_decoders.sampling.decoder import Sampler

        return Sampler(self, self.n)


@attrs.frozen(kw_only=True)
class Sampling(Drawing):
    """The base of samplers with one truncation.

    Attributes:
        n: how many captions an image, each drawn on its own; the likeliest comes first.
    """

    n: int = attrs.field(default=1, validator=at_least(1))

    def build(self) -> Decoder:
        """Makes the decoder."""
        from prefixcap_decoders.sampling.decoder import Sampler

        return Sampler(self, self.n)


@attrs.frozen(kw_only=True)
class TopP(Sampling):
    """Nucleus sampling (Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration").

    Each token is drawn from the smallest set of tokens whose probabilities sum to `top_p` or more;
    of equally likely ones at its edge, as many belong to it as are needed.

    Attributes:
        top_p: the probability mass of the nucleus.
        top_k: at most so many tokens are left before the nucleus is taken; 0 is no limit.
    """

    name: ClassVar[str] = "top-p"
    version: ClassVar[str] = "2"

    top_p: float = attrs.field(default=0.9, converter=float, validator=between(0, 1))
    top_k: int = attrs.field(default=0, validator=at_least(0))

    def truncation(self) -> Mapping[str, float]:
        """Returns the nucleus' mass and the number of tokens."""
        return {"top_k": self.top_k, "top_p": self.top_p}


@attrs.frozen(kw_only=True)
class TopK(Sampling):
    """Top-k sampling (Fan et al. 2018, "Hierarchical Neural Story Generation").

    Attributes:
        top_k: tokens are drawn from so many, the likeliest, and those as likely as the last.
    """

    name: ClassVar[str] = "top-k"
    version: ClassVar[str] = "2"

    top_k: int = attrs.field(default=10, validator=at_least(1))

    def truncation(self) -> Mapping[str, float]:
        """Returns the number of tokens."""
        return {"top_k": self.top_k}


@attrs.frozen(kw_only=True)
class MinP(Sampling):
    """Min-p sampling (Nguyen et al. 2024, "Turning Up the Heat").

    Attributes:
        min_p: tokens are left that are at least this share as likely as the likeliest.
    """

    name: ClassVar[str] = "min-p"

    min_p: float = attrs.field(default=0.1, converter=float, validator=between(0, 1))

    def truncation(self) -> Mapping[str, float]:
        """Returns the share."""
        return {"min_p": self.min_p}


@attrs.frozen(kw_only=True)
class Typical(Sampling):
    """Locally typical sampling (Meister et al. 2023, "Locally Typical Sampling").

    Tokens are taken by how near their surprise is to the distribution's entropy.

    Attributes:
        typical_p: until their probabilities sum to this.
    """

    name: ClassVar[str] = "typical"

    typical_p: float = attrs.field(
        default=0.95, converter=float, validator=[above(0), between(0, 1)]
    )

    def truncation(self) -> Mapping[str, float]:
        """Returns the probability mass."""
        return {"typical_p": self.typical_p}


@attrs.frozen(kw_only=True)
class Epsilon(Sampling):
    """Epsilon sampling (Hewitt et al. 2022, "Truncation Sampling as Language Model Desmoothing").

    Attributes:
        epsilon: tokens of a lower probability are left out; the likeliest always stays.
    """

    name: ClassVar[str] = "epsilon"

    epsilon: float = attrs.field(
        default=6e-4, converter=float, validator=[above(0), between(0, 0.999)]
    )

    def truncation(self) -> Mapping[str, float]:
        """Returns the least probability."""
        return {"epsilon": self.epsilon}


@attrs.frozen(kw_only=True)
class Eta(Sampling):
    """Eta sampling (Hewitt et al. 2022, "Truncation Sampling as Language Model Desmoothing").

    Tokens are left out whose probability is below min(eta, sqrt(eta) exp(-entropy)).

    Attributes:
        eta: as above; the likeliest token always stays.
    """

    name: ClassVar[str] = "eta"

    eta: float = attrs.field(default=2e-3, converter=float, validator=[above(0), between(0, 0.999)])

    def truncation(self) -> Mapping[str, float]:
        """Returns the threshold's setting."""
        return {"eta": self.eta}


@attrs.frozen(kw_only=True)
class TopH(Sampling):
    """Top-H sampling (Baghaei Potraghloo et al. 2025, "Top-H Decoding").

    The likeliest tokens are taken while the entropy they add up stays within a share of the
    distribution's; as in transformers, of the 100 likeliest tokens only, and without normalising
    what is left again, as the paper does.

    Attributes:
        top_h: the share of the entropy.
    """

    name: ClassVar[str] = "top-h"

    top_h: float = attrs.field(default=0.4, converter=float, validator=[above(0), between(0, 1)])

    def truncation(self) -> Mapping[str, float]:
        """Returns the share of the entropy."""
        return {"top_h": self.top_h}
