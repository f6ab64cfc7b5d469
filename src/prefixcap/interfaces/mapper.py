"""Mappers: from features (B,D) or (B,N,D) to prefixes (B,P,E)."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, Self

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
        state_width: W, the number of keys and values of all layers for one position, if the mapper
            gives those instead of embeddings.
        reads_features: Whether layers of the language model read the features as well.
        prompt_length: The number of tokens of text around the prefix.
    """

    feature_width: int
    feature_tokens: int | None
    prefix_length: int
    embedding_width: int
    state_width: int | None = None
    reads_features: bool = False
    prompt_length: int = 0

    @property
    def embeddings(self) -> int:
        """The number of embeddings that the mapper gives: P, or 0 if it gives keys and values."""
        return self.prefix_length if self.state_width is None else 0


@attrs.frozen(kw_only=True)
class MapperConfig(Component):
    """The base of mapper configs."""

    kind: ClassVar[str] = "mapper"
    learns: ClassVar[bool] = True
    """Whether the mapper has weights to train; one without gives all images the same prefix."""
    gives_states: ClassVar[bool] = False
    """Whether the mapper gives keys and values of every layer, (B,P,W), instead of embeddings."""

    @abstractmethod
    def build(self, shape: MapperShape) -> nn.Module:
        """Build the mapper with initial weights drawn from torch's global random state."""

    def sized(self, size: int) -> Self | None:
        """Return this config with another size, from 1; it then has more or fewer parameters.

        `--match` so finds the settings that train an equal number. None, the default, if there is
        no such setting, or if the user has fixed it.
        """
        return None
