"""Configs of the mappers that are made for feature tokens (B,N,D)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs
from typing_extensions import override

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.mapper import MapperConfig, MapperShape
from prefixcap.interfaces.validators import at_least, between

if TYPE_CHECKING:
    from torch import nn


@attrs.frozen(kw_only=True)
class QFormer(MapperConfig):
    """A small Q-Former, as in BLIP-2 (Li et al. 2023, arXiv:2301.12597).

    P learned queries attend to each other and, in the first and every other layer after it, to the
    feature tokens; a linear layer projects them to E. It is transformers' `Blip2QFormerModel`,
    without its text input. A feature (B,D) is one token. BLIP-2 has 12 layers of width 768.

    Attributes:
        width: Width of the queries.
        num_layers: Number of layers.
        heads: Number of attention heads, a divisor of `width`.
        dropout: Probability of dropout, of attention weights and of hidden states.
    """

    name: ClassVar[str] = "qformer"

    width: int = attrs.field(default=384, validator=at_least(1))
    num_layers: int = attrs.field(default=6, validator=at_least(1))
    heads: int = attrs.field(default=6, validator=at_least(1))
    dropout: float = attrs.field(default=0.1, validator=between(0, 1))

    def __attrs_post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"heads={self.heads} does not divide width={self.width}")

    @override
    def build(self, shape: MapperShape) -> nn.Module:
        from prefixcap_mappers.token_modules import QFormerMapper

        return QFormerMapper(
            shape,
            width=self.width,
            num_layers=self.num_layers,
            heads=self.heads,
            dropout=self.dropout,
        )


@attrs.frozen(kw_only=True)
class Llava(MapperConfig):
    """LLaVA-1.5's projector (Liu et al. 2023, arXiv:2310.03744).

    Linear(D, E), GELU, Linear(E, E), applied to each feature token, so that P is N. A feature (B,D)
    is one token.

    Attributes:
        pool: Whether adjacent tokens are averaged first, to P tokens (torch's
            `adaptive_avg_pool1d`), so that P may be any number up to N.
    """

    name: ClassVar[str] = "llava"

    pool: bool = False

    @override
    def build(self, shape: MapperShape) -> nn.Module:
        from prefixcap_mappers.token_modules import LlavaMapper

        tokens, length = shape.feature_tokens or 1, shape.prefix_length
        if length > tokens or (length < tokens and not self.pool):
            pooling = ", or average adjacent ones with llava:pool=true" * (length < tokens)
            raise PrefixcapError(
                f"mapper 'llava': a prefix vector is made of each feature token, and the encoder "
                f"has {tokens}, not {length}: set the prefix length to {tokens}{pooling}"
            )
        return LlavaMapper(shape)
