"""The configs of the mappers; the modules they build are in `modules`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from prefixcap.config import above, at_least
from prefixcap.errors import PrefixcapError
from prefixcap.kinds import MapperConfig, MapperShape

if TYPE_CHECKING:
    from torch import nn


@attrs.frozen(kw_only=True)
class MLP(MapperConfig):
    """ClipCap's multi-layer perceptron (Mokady et al. 2021, arXiv:2111.09734).

    Linear(D, hidden), tanh, Linear(hidden, E P). Its size grows with the square of P unless
    `hidden` is given. Several feature tokens (B,N,D) are averaged first.

    Attributes:
        hidden: the width of the hidden layer; E P / 2 unless given.
    """

    name: ClassVar[str] = "mlp"

    hidden: int | None = attrs.field(default=None, validator=at_least(1))

    def build(self, shape: MapperShape) -> nn.Module:
        """Makes the mapper with fresh weights."""
        from prefixcap_mappers.modules import MLPMapper

        return MLPMapper(shape, self.hidden or shape.embedding_width * shape.prefix_length // 2)


@attrs.frozen(kw_only=True)
class Transformer(MapperConfig):
    """ClipCap's transformer (Mokady et al. 2021, arXiv:2111.09734).

    A feature (B,D) becomes `clip_length` tokens; they are joined with P learnt constants, and
    what these have become after the last layer is the prefix. Several feature tokens (B,N,D) are
    projected one by one and take the place of the `clip_length` tokens.

    Attributes:
        clip_length: how many tokens a single feature vector becomes.
        num_layers: how many layers.
        heads: attention heads; E must be a multiple of them.
        mlp_ratio: the width of a layer's hidden part, as a multiple of E.
    """

    name: ClassVar[str] = "transformer"

    clip_length: int = attrs.field(default=10, validator=at_least(1))
    num_layers: int = attrs.field(default=8, validator=at_least(1))
    heads: int = attrs.field(default=8, validator=at_least(1))
    mlp_ratio: float = attrs.field(default=2.0, validator=above(0))

    def build(self, shape: MapperShape) -> nn.Module:
        """Makes the mapper with fresh weights.

        Raises:
            PrefixcapError: E is not a multiple of the heads.
        """
        from prefixcap_mappers.modules import TransformerMapper

        if shape.embedding_width % self.heads:
            fitting = [n for n in range(1, 33) if shape.embedding_width % n == 0]
            raise PrefixcapError(
                f"mapper 'transformer': heads={self.heads} does not divide the language model's "
                f"width {shape.embedding_width}; these do: {', '.join(map(str, fitting))}"
            )
        return TransformerMapper(
            shape,
            clip_length=self.clip_length,
            num_layers=self.num_layers,
            heads=self.heads,
            mlp_ratio=self.mlp_ratio,
        )


@attrs.frozen(kw_only=True)
class Linear(MapperConfig):
    """One linear layer, Linear(D, E P) (Merullo et al. 2023, arXiv:2209.15162).

    Several feature tokens (B,N,D) are averaged first.
    """

    name: ClassVar[str] = "linear"

    def build(self, shape: MapperShape) -> nn.Module:
        """Makes the mapper with fresh weights."""
        from prefixcap_mappers.modules import LinearMapper

        return LinearMapper(shape)
