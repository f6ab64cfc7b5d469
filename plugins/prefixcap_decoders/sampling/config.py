"""Configs of samplers: each token is drawn from the model's distribution, possibly truncated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs
from typing_extensions import override

from prefixcap.interfaces.decoder import Decoder
from prefixcap.interfaces.validators import above, at_least, between
from prefixcap_decoders.logits.settings import TEMPERATURE, Controlled

TRUNCATIONS = ("top_h", "top_k", "top_p", "min_p", "typical_p", "epsilon", "eta")
PROBABILITY = between(0, 1)
POSITIVE = [above(0), PROBABILITY]
THRESHOLD = between(0, 0.999)


@attrs.frozen(kw_only=True)
class Drawing(Controlled):
    """The base of decoders that draw tokens.

    Attributes:
        temperature: Divisor of the logits; above 1 flattens the distribution.
    """

    temperature: float = attrs.field(default=1.0, converter=float, validator=TEMPERATURE)

    def truncation(self) -> Mapping[str, float]:
        """Return the settings that truncate the distribution, by name."""
        names = attrs.fields_dict(type(self)).keys()
        return {name: getattr(self, name) for name in TRUNCATIONS if name in names}


@attrs.frozen(kw_only=True)
class Truncated(Drawing):
    """The base of decoders with any combination of truncations, applied in this order.

    Attributes:
        top_h: As in `top-h`; 1 is off.
        top_k: As in `top-k`; 0 is off.
        top_p: As in `top-p`; 1 is off.
        min_p: As in `min-p`; 0 is off.
        typical_p: As in `typical`; 1 is off.
        epsilon: As in `epsilon`; 0 is off.
        eta: As in `eta`; 0 is off.
    """

    version: ClassVar[str] = "2"

    top_h: float = attrs.field(default=1.0, converter=float, validator=POSITIVE)
    top_k: int = attrs.field(default=0, validator=at_least(0))
    top_p: float = attrs.field(default=1.0, converter=float, validator=PROBABILITY)
    min_p: float = attrs.field(default=0.0, converter=float, validator=PROBABILITY)
    typical_p: float = attrs.field(default=1.0, converter=float, validator=POSITIVE)
    epsilon: float = attrs.field(default=0.0, converter=float, validator=THRESHOLD)
    eta: float = attrs.field(default=0.0, converter=float, validator=THRESHOLD)


@attrs.frozen(kw_only=True)
class Sample(Truncated):
    """Sampling with any combination of truncations; by default from the model's distribution.

    Temperature after Ackley et al. 1985, "A Learning Algorithm for Boltzmann Machines". The
    decoder named after each truncation cites its paper.

    Attributes:
        n: Number of captions per image, drawn independently; the most likely comes first.
    """

    name: ClassVar[str] = "sample"

    n: int = attrs.field(default=1, validator=at_least(1))

    @override
    def build(self) -> Decoder:
        from prefixcap_decoders.sampling.decoder import Sampler

        return Sampler(self, self.n)


@attrs.frozen(kw_only=True)
class Sampling(Drawing):
    """The base of samplers with one truncation.

    Attributes:
        n: Number of captions per image, drawn independently; the most likely comes first.
    """

    n: int = attrs.field(default=1, validator=at_least(1))

    @override
    def build(self) -> Decoder:
        from prefixcap_decoders.sampling.decoder import Sampler

        return Sampler(self, self.n)


@attrs.frozen(kw_only=True)
class TopP(Sampling):
    """Nucleus sampling: draw from the smallest set of tokens with probability `top_p` or more.

    Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration" (arXiv:1904.09751). Among
    equally likely tokens at the edge, only as many are included as are needed.

    Attributes:
        top_p: Probability mass of the nucleus, 0 to 1.
        top_k: Maximum number of tokens left before the nucleus is taken; 0 is no limit.
    """

    name: ClassVar[str] = "top-p"
    version: ClassVar[str] = "2"

    top_p: float = attrs.field(default=0.9, converter=float, validator=PROBABILITY)
    top_k: int = attrs.field(default=0, validator=at_least(0))


@attrs.frozen(kw_only=True)
class TopK(Sampling):
    """Top-k sampling: draw from the `top_k` most likely tokens.

    Fan et al. 2018, "Hierarchical Neural Story Generation" (arXiv:1805.04833).

    Attributes:
        top_k: Number of tokens; more if several are as likely as the last of them.
    """

    name: ClassVar[str] = "top-k"
    version: ClassVar[str] = "2"

    top_k: int = attrs.field(default=10, validator=at_least(1))


@attrs.frozen(kw_only=True)
class MinP(Sampling):
    """Min-p sampling: draw from tokens at least `min_p` times as likely as the most likely one.

    Nguyen et al. 2024, "Turning Up the Heat" (arXiv:2407.01082).

    Attributes:
        min_p: Minimum ratio of the probabilities, 0 to 1.
    """

    name: ClassVar[str] = "min-p"

    min_p: float = attrs.field(default=0.1, converter=float, validator=PROBABILITY)


@attrs.frozen(kw_only=True)
class Typical(Sampling):
    """Locally typical sampling: draw from tokens with a surprisal close to the entropy.

    Meister et al. 2023, "Locally Typical Sampling" (arXiv:2202.00666).

    Attributes:
        typical_p: Tokens are taken, closest first, until their probabilities sum to this.
    """

    name: ClassVar[str] = "typical"

    typical_p: float = attrs.field(default=0.95, converter=float, validator=POSITIVE)


@attrs.frozen(kw_only=True)
class Epsilon(Sampling):
    """Epsilon sampling: draw from tokens with a probability of at least `epsilon`.

    Hewitt et al. 2022, "Truncation Sampling as Language Model Desmoothing" (arXiv:2210.15191).

    Attributes:
        epsilon: Minimum probability; the most likely token is always kept.
    """

    name: ClassVar[str] = "epsilon"

    epsilon: float = attrs.field(default=6e-4, converter=float, validator=[above(0), THRESHOLD])


@attrs.frozen(kw_only=True)
class Eta(Sampling):
    """Eta sampling: like `epsilon`, with min(eta, sqrt(eta) exp(-entropy)) as the minimum.

    Hewitt et al. 2022, "Truncation Sampling as Language Model Desmoothing" (arXiv:2210.15191).

    Attributes:
        eta: As above; the most likely token is always kept.
    """

    name: ClassVar[str] = "eta"

    eta: float = attrs.field(default=2e-3, converter=float, validator=[above(0), THRESHOLD])


@attrs.frozen(kw_only=True)
class TopH(Sampling):
    """Top-H sampling: draw from the most likely tokens within a share of the entropy.

    Baghaei Potraghloo et al. 2025, "Top-H Decoding" (arXiv:2509.02510). As in transformers, only
    the 100 most likely tokens count, and what remains is not renormalised for its entropy.

    Attributes:
        top_h: Share of the distribution's entropy, 0 to 1.
    """

    name: ClassVar[str] = "top-h"

    top_h: float = attrs.field(default=0.4, converter=float, validator=POSITIVE)


@attrs.frozen(kw_only=True)
class Mirostat(Controlled):
    """Mirostat 2.0: sampling with a steady surprisal.

    Basu et al. 2021, "Mirostat" (arXiv:2007.14966). Tokens with a surprisal above mu bits are
    excluded, except the most likely one. mu starts at 2 `tau` and decreases after each token by
    `eta` times the token's surprisal in excess of `tau`.

    Attributes:
        tau: Target surprisal in bits.
        eta: Learning rate of mu, 0 to 1.
        temperature: Divisor of the logits.
        n: Number of captions per image, drawn independently; the most likely comes first.
    """

    name: ClassVar[str] = "mirostat"

    tau: float = attrs.field(default=3.0, converter=float, validator=above(0))
    eta: float = attrs.field(default=0.1, converter=float, validator=PROBABILITY)
    temperature: float = attrs.field(default=1.0, converter=float, validator=TEMPERATURE)
    n: int = attrs.field(default=1, validator=at_least(1))

    @override
    def build(self) -> Decoder:
        from prefixcap_decoders.sampling.decoder import MirostatSampler

        return MirostatSampler(self)


DECODERS = (Epsilon, Eta, MinP, Mirostat, Sample, TopH, TopK, TopP, Typical)
