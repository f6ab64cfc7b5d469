"""The configs of the mappers; the modules they build are in `modules`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.mapper import MapperConfig, MapperShape
from prefixcap.interfaces.validators import above, at_least

if TYPE_CHECKING:
    from torch import nn


@attrs.frozen(kw_only=True)
class MLP(MapperConfig):
    """ClipCap's multi-layer perceptron (Mokady et al. 2021, arXiv:2111.09734).

    Linear(D, hidden), tanh, Linear(hidden, E P). Its size grows with the square of P, so a longer
    prefix is a larger mapper as well, unless one of the settings holds something fixed: with
    `hidden` it is the rank of what images can change in the prefix, with `parameters` the size.
    Several feature tokens (B,N,D) are averaged first.

    Attributes:
        hidden: the width of the hidden layer; E P / 2 unless given.
        parameters: how many parameters the mapper is to have, whatever P is; the hidden layer is
            as wide as comes nearest to it.
    """

    name: ClassVar[str] = "mlp"

    hidden: int | None = attrs.field(default=None, validator=at_least(1))
    parameters: int | None = attrs.field(default=None, validator=at_least(1))

    def __attrs_post_init__(self) -> None:
        if self.hidden is not None and self.parameters is not None:
            raise ValueError(
                "hidden and parameters both say how wide the hidden layer is: give one"
            )

    def build(self, shape: MapperShape) -> nn.Module:
        """Makes the mapper with fresh weights.

        Raises:
            PrefixcapError: no hidden layer makes a mapper of about as many parameters as asked.
        """
        from prefixcap_mappers.modules import MLPMapper

        hidden = self.hidden or shape.embedding_width * shape.prefix_length // 2
        return MLPMapper(shape, hidden if self.parameters is None else self._hidden(shape))

    def _hidden(self, shape: MapperShape) -> int:
        """The width that makes (D+1) H + (H+1) E P come nearest to the parameters wanted."""
        wanted = self.parameters or 0
        outputs = shape.embedding_width * shape.prefix_length
        each = shape.feature_width + 1 + outputs
        hidden = round((wanted - outputs) / each)
        if hidden < 1 or abs(hidden * each + outputs - wanted) > wanted / 10:
            raise PrefixcapError(
                f"mapper 'mlp': parameters={wanted} cannot be met within a tenth for a prefix "
                f"of {shape.prefix_length}, whose sizes are {outputs + each}, {outputs + 2 * each} "
                f"and so on in steps of {each}: ask for more, or set hidden"
            )
        return hidden


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

    Attributes:
        rank: the rank of the layer's weights, which are then Linear(D, rank) without a bias and
            Linear(rank, E P); full unless given.
    """

    name: ClassVar[str] = "linear"

    rank: int | None = attrs.field(default=None, validator=at_least(1))

    def build(self, shape: MapperShape) -> nn.Module:
        """Makes the mapper with fresh weights."""
        from prefixcap_mappers.modules import LinearMapper

        return LinearMapper(shape, self.rank)
