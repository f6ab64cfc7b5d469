"""`deep`: a mapper that gives keys and values of every layer instead of embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Self

import attrs
from typing_extensions import override

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.component import Component
from prefixcap.interfaces.mapper import MapperConfig, MapperShape
from prefixcap.interfaces.validators import at_least
from prefixcap.plugin.registry import default_registry
from prefixcap.plugin.specs import nested, split_top_level, to_spec

if TYPE_CHECKING:
    from torch import nn

RANK = 64
"""The rank by default."""


@attrs.frozen(kw_only=True)
class Deep(MapperConfig):
    """Give each image keys and values for every layer, (B,P,W) with W = 2 L K D.

    Another mapper gives P vectors (E), which Linear(E, rank) and Linear(rank, W) turn into keys and
    values, the same for each position. So an image's prefix reaches every layer, as the trained one
    of `deep-prefix` does (Liu et al. 2022, arXiv:2110.07602), for which this is the control.

    Attributes:
        mapper: The spec of the other mapper, with ";" between its settings.
        rank: Width between the two linear layers, 64 if None.
    """

    name: ClassVar[str] = "deep"
    gives_states: ClassVar[bool] = True

    mapper: str = "mlp"
    rank: int | None = attrs.field(default=None, validator=at_least(1))

    @property
    def inner(self) -> MapperConfig:
        """The other mapper's config.

        Raises:
            PrefixcapError: If it is unknown, or gives keys and values itself.
        """
        config = default_registry().parse(MapperConfig, nested(self.mapper))
        if config.gives_states:
            raise PrefixcapError(f"mapper 'deep': {config.name!r} gives keys and values already")
        return config

    @override
    def subcomponents(self) -> Sequence[Component]:
        return (self.inner,)

    @override
    def sized(self, size: int) -> Self | None:
        inner = self.inner.sized(size)
        if inner is None:
            return attrs.evolve(self, rank=size) if self.rank is None else None
        spec = ";".join(split_top_level(to_spec(inner)))
        # parameters beyond the usual rank go to the other mapper
        rank = self.rank if self.rank is not None else min(size, RANK)
        return attrs.evolve(self, mapper=spec, rank=rank)

    @override
    def build(self, shape: MapperShape) -> nn.Module:
        from prefixcap_mappers.modules import DeepMapper

        if shape.state_width is None:
            raise PrefixcapError(
                "mapper 'deep' gives keys and values for each layer, which this language model "
                "does not take: use another mapper"
            )
        inner = self.inner.build(attrs.evolve(shape, state_width=None))
        return DeepMapper(inner, shape, RANK if self.rank is None else self.rank)
