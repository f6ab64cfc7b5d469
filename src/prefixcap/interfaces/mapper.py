"""Mappers: from features (B,D) or (B,N,D) to prefixes (B,P,E)."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

import attrs

from prefixcap.interfaces.component import Component

if TYPE_CHECKING:
    from torch import nn


@attrs.frozen(kw_only=True)
class MapperShape:
    """The sizes that a mapper is built for.

    Attributes:
        feature_width: D of the encoder.
        feature_tokens: N of the encoder; None if a feature is one vector (D).
        prefix_length: P of the study.
        embedding_width: E of the language model.
    """

    feature_width: int
    feature_tokens: int | None
    prefix_length: int
    embedding_width: int


@attrs.frozen(kw_only=True)
class MapperConfig(Component):
    """The base of mapper configs."""

    kind: ClassVar[str] = "mapper"

    @abstractmethod
    def build(self, shape: MapperShape) -> nn.Module:
        """Build the mapper with initial weights drawn from torch's global random state."""
