"""Bottleneck adapters."""

from __future__ import annotations

from typing import ClassVar, Self

import attrs
from typing_extensions import override

from prefixcap.interfaces.tuning import Tuning, TuningConfig
from prefixcap.interfaces.validators import above, at_least, one_of

PLACES = ("both", "feed-forward")


@attrs.frozen(kw_only=True)
class Adapter(TuningConfig):
    """Train small networks in every layer (Houlsby et al. 2019, arXiv:1902.00751).

    An adapter stands after attention and after the feed-forward part, before their outputs y (E)
    are added to the states: y + U gelu(D y + d) + u, with D (width,E) and U (E,width). U and u
    start at zero. An adapter cannot be folded into the weights.

    Attributes:
        width: Width of the hidden layer.
        places: "both", after attention and feed-forward parts, or "feed-forward" alone (Pfeiffer et
            al. 2021, arXiv:2005.00247).
        learning_rate: Peak rate of the adapters; none: the mapper's, times the training's
            `lm_lr_scale`.
    """

    name: ClassVar[str] = "adapter"

    width: int = attrs.field(default=64, validator=at_least(1))
    places: str = attrs.field(default="both", validator=one_of(PLACES))
    learning_rate: float | None = attrs.field(default=3e-4, validator=above(0))

    @override
    def build(self) -> Tuning:
        from prefixcap_tunings.adapter_layers import Adapters

        return Adapters(self.width, attention=self.places == "both")

    @override
    def peak_rate(self) -> float | None:
        return self.learning_rate

    @override
    def sized(self, size: int) -> Self | None:
        return attrs.evolve(self, width=size)
