"""Configs of the mappers."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

import attrs
from typing_extensions import override

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.mapper import MapperConfig, MapperShape
from prefixcap.interfaces.validators import above, at_least, one_of

if TYPE_CHECKING:
    from torch import nn


@attrs.frozen(kw_only=True)
class MLP(MapperConfig):
    """ClipCap's multi-layer perceptron (Mokady et al. 2021, arXiv:2111.09734).

    Linear(D, hidden), tanh, Linear(hidden, E P), applied to the mean of several feature tokens.
    By default its size grows with the square of P. `hidden` fixes the rank of the image's effect
    on the prefix instead, `parameters` the size.

    Attributes:
        hidden: Width of the hidden layer; default: E P / 2.
        parameters: Number of parameters for any P; the hidden layer gets the width that comes
            closest.
    """

    name: ClassVar[str] = "mlp"

    hidden: int | None = attrs.field(default=None, validator=at_least(1))
    parameters: int | None = attrs.field(default=None, validator=at_least(1))

    def __attrs_post_init__(self) -> None:
        if self.hidden is not None and self.parameters is not None:
            raise ValueError("hidden and parameters both set the hidden width: give one")

    @override
    def build(self, shape: MapperShape) -> nn.Module:
        from prefixcap_mappers.modules import MLPMapper

        if self.parameters is not None:
            return MLPMapper(shape, self._hidden_for(self.parameters, shape))
        return MLPMapper(shape, self.hidden or shape.embedding_width * shape.prefix_length // 2)

    @override
    def sized(self, size: int) -> Self | None:
        fixed = self.hidden is not None or self.parameters is not None
        return None if fixed else attrs.evolve(self, hidden=size)

    def _hidden_for(self, parameters: int, shape: MapperShape) -> int:
        # (D+1) H + (H+1) E P parameters for a hidden width of H
        outputs = shape.embedding_width * shape.prefix_length
        step = shape.feature_width + 1 + outputs
        hidden = round((parameters - outputs) / step)
        if hidden < 1 or abs(hidden * step + outputs - parameters) > parameters / 10:
            raise PrefixcapError(
                f"mapper 'mlp': parameters={parameters} cannot be met within a tenth for a prefix "
                f"of {shape.prefix_length}, whose sizes are {outputs + step}, {outputs + 2 * step} "
                f"and so on in steps of {step}: ask for more, or set hidden"
            )
        return hidden


@attrs.frozen(kw_only=True)
class Transformer(MapperConfig):
    """ClipCap's transformer (Mokady et al. 2021, arXiv:2111.09734).

    A feature (B,D) is projected to `clip_length` tokens, feature tokens (B,N,D) one by one. P
    learned constants follow them, and their states after the last layer are the prefix.

    With `attention=cross`, the constants attend to the tokens in layers 1, 3, 5 and so on, and to
    each other in layers 2, 4, 6 and so on, as in the decoder of ClipCap's code (`enc_dec`). The
    tokens do not change, so that a layer costs less for many of them.

    Attributes:
        clip_length: Number of tokens that a single feature vector becomes.
        num_layers: Number of layers.
        heads: Number of attention heads, a divisor of E.
        mlp_ratio: Hidden width of the feed-forward networks, as a multiple of E.
        attention: "self", over tokens and constants together, or "cross".
    """

    name: ClassVar[str] = "transformer"

    clip_length: int = attrs.field(default=10, validator=at_least(1))
    num_layers: int = attrs.field(default=8, validator=at_least(1))
    heads: int = attrs.field(default=8, validator=at_least(1))
    mlp_ratio: float = attrs.field(default=2.0, validator=above(0))
    attention: str = attrs.field(default="self", validator=one_of(("self", "cross")))

    @override
    def build(self, shape: MapperShape) -> nn.Module:
        from prefixcap_mappers.modules import TransformerMapper

        if shape.embedding_width % self.heads:
            divisors = [n for n in range(1, 33) if shape.embedding_width % n == 0]
            raise PrefixcapError(
                f"mapper 'transformer': heads={self.heads} does not divide the language model's "
                f"width {shape.embedding_width}; these do: {', '.join(map(str, divisors))}"
            )
        return TransformerMapper(
            shape,
            clip_length=self.clip_length,
            num_layers=self.num_layers,
            heads=self.heads,
            mlp_ratio=self.mlp_ratio,
            cross=self.attention == "cross",
        )


@attrs.frozen(kw_only=True)
class Linear(MapperConfig):
    """A linear layer, Linear(D, E P) (Merullo et al. 2023, arXiv:2209.15162).

    It is applied to the mean of several feature tokens.

    Attributes:
        rank: Rank of a factorised layer, Linear(D, rank) without bias and Linear(rank, E P);
            default: full.
    """

    name: ClassVar[str] = "linear"

    rank: int | None = attrs.field(default=None, validator=at_least(1))

    @override
    def build(self, shape: MapperShape) -> nn.Module:
        from prefixcap_mappers.modules import LinearMapper

        return LinearMapper(shape, self.rank)

    @override
    def sized(self, size: int) -> Self | None:
        return None if self.rank is not None else attrs.evolve(self, rank=size)
