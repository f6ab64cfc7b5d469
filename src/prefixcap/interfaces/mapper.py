"""TODO."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

import attrs

from prefixcap.interfaces.component import Component

if TYPE_CHECKING:
    from torch import nn


@attrs.frozen(kw_only=True)
class MapperShape:
    """What a mapper must fit: D and N of the encoder, P of the study, E of the language model."""

    feature_width: int
    feature_tokens: int | None
    prefix_length: int
    embedding_width: int


@attrs.frozen(kw_only=True)
class MapperConfig(Component):
    """The base of mapper configs: a mapper turns features (B,D) or (B,N,D) into (B,P,E)."""

    kind: ClassVar[str] = "mapper"

    @abstractmethod
    def build(self, shape: MapperShape) -> nn.Module:
        """Makes the mapper with fresh weights, drawn from torch's global random state."""
