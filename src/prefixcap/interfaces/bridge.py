"""Bridges: between the embeddings of texts, in training, and those of images, afterwards."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Protocol

import attrs

from prefixcap.interfaces.component import Component

if TYPE_CHECKING:
    from torch import Tensor


class Embeddings(Protocol):
    """Embeddings (B,D), in memory or in files; an index reads rows."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(B,D)."""

    def __len__(self) -> int:
        """B."""

    def __getitem__(self, index: Tensor | slice, /) -> Tensor:
        """Read the rows of a slice, or those that a tensor (B') of numbers names."""


class Bridge(ABC):
    """Brings the embeddings of texts and of images closer to each other.

    A model that is trained on texts alone gets `text_side` of its captions' embeddings in training,
    and `image_side` of an image's embedding afterwards. A bridge has no state of its own: what it
    learns is passed to both, and saved with the model. Embeddings are float32 and may have any
    length.
    """

    @abstractmethod
    def learn(self, texts: Embeddings, images: Embeddings) -> Mapping[str, Tensor]:
        """Learn from the embeddings in training; which image a text describes is not known.

        Args:
            texts: (T,D), of the training captions.
            images: (B,D), of the training images.

        Returns:
            Tensors of float32 by name, an identifier; the same for the same embeddings.

        Raises:
            PrefixcapError: If they do not fit into memory.
        """

    @abstractmethod
    def text_side(
        self, texts: Tensor, learned: Mapping[str, Tensor], noise: Tensor | None
    ) -> Tensor:
        """Return what the mapper gets for texts (B,D) in training: (B,D).

        `noise` (B,D) is drawn from N(0,1) for each step; without it, nothing is random.
        """

    @abstractmethod
    def image_side(self, images: Tensor, learned: Mapping[str, Tensor]) -> Tensor:
        """Return what the mapper gets for images (B,D): (B,D)."""

    def measure(self, images: Tensor, learned: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return numbers (B) about how images (B,D) are bridged, by name, for the gap report."""
        return {}


@attrs.frozen(kw_only=True)
class BridgeConfig(Component):
    """The base of bridge configs."""

    kind: ClassVar[str] = "bridge"

    @abstractmethod
    def build(self) -> Bridge:
        """Build the bridge."""
