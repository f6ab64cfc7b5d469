"""Mappers: from features (B,D) or (B,N,D) to prefixes (B,P,E)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Self

import attrs

from prefixcap.interfaces.component import Component

if TYPE_CHECKING:
    from torch import nn

    from prefixcap.interfaces.language_model import LanguageModel


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
    learns: ClassVar[bool] = True
    """Whether the mapper has weights to train; one without gives all images the same prefix."""

    @abstractmethod
    def build(self, shape: MapperShape) -> nn.Module:
        """Build the mapper with initial weights drawn from torch's global random state."""

    def sized(self, size: int) -> Self | None:
        """Return this config with another size, from 1; it then has more or fewer parameters.

        `--match` so finds the settings that train an equal number. None, the default, if there is
        no such setting, or if the user has fixed it.
        """
        return None


class ModelReader(ABC):
    """A mapper's module that takes something of the language model, once, before the training.

    What it takes belongs to its buffers or parameters: a saved model is loaded without reading.
    """

    @abstractmethod
    def read_model(self, lm: LanguageModel) -> None:
        """Take what the mapper needs of the language model.

        Raises:
            PrefixcapError: If the language model does not have it.
        """
