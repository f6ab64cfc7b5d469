"""Image encoders: from images to features (B,D) or (B,N,D)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import attrs

from prefixcap.interfaces.component import Component
from prefixcap.interfaces.dataset import ImageItem

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor


class Encoder(ABC):
    """A frozen image encoder."""

    def __repr__(self) -> str:
        shape = f"({self.width})" if self.tokens is None else f"({self.tokens}, {self.width})"
        return f"<{type(self).__name__}: features {shape}>"

    @property
    @abstractmethod
    def width(self) -> int:
        """D, the width of a feature."""

    @property
    @abstractmethod
    def tokens(self) -> int | None:
        """N, the number of feature tokens per image; None if a feature is one vector (D)."""

    @abstractmethod
    def preprocess(self, image: ImageItem) -> Tensor:
        """Turn an image into the tensor that `encode` takes in stacks, such as pixels (3,H,W)."""

    @abstractmethod
    def encode(self, inputs: Tensor) -> Tensor:
        """Encode a stack of preprocessed images into features (B,D) or (B,N,D), float32."""

    @abstractmethod
    def digest(self) -> str:
        """Return a hash of the weights, or of the file of features."""

    def encode_text(self, texts: Sequence[str]) -> Tensor | None:
        """Encode texts into the space of the images (B,D); None if the encoder cannot."""
        return None


@attrs.frozen(kw_only=True)
class EncoderConfig(Component):
    """The base of image encoder configs."""

    kind: ClassVar[str] = "encoder"

    @property
    def depends_on_index(self) -> bool:
        """Whether a feature depends on its image's index in the data set, as rows of a file do.

        If not, images may be added to the data set without encoding the others again. True is the
        safe default.
        """
        return True

    def doubts(self, image: Image.Image) -> str | None:
        """Return why an RGB image is unlike those that the encoder was trained on, if it is.

        The captions of such an image mean nothing, which its features may not show.
        """
        return None

    @abstractmethod
    def build(self, device: str = "cpu") -> Encoder:
        """Load the encoder's weights onto a device."""
