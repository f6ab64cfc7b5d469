"""TODO."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import attrs

from prefixcap.interfaces.component import Component
from prefixcap.interfaces.dataset import ImageItem

if TYPE_CHECKING:
    from torch import Tensor


class Encoder(ABC):
    """A frozen image encoder."""

    @property
    @abstractmethod
    def width(self) -> int:
        """D, the width of a feature."""

    @property
    @abstractmethod
    def tokens(self) -> int | None:
        """N, the number of feature tokens an image; None where a feature is one vector (D)."""

    @abstractmethod
    def preprocess(self, image: ImageItem) -> Tensor:
        """Turns an image into the tensor that `encode` stacks, such as pixels (3,H,W)."""

    @abstractmethod
    def encode(self, inputs: Tensor) -> Tensor:
        """Encodes a stack of preprocessed images into features (B,D) or (B,N,D), float32."""

    @abstractmethod
    def digest(self) -> str:
        """Returns a hash of the weights (or of the file of features)."""

    def encode_text(self, texts: Sequence[str]) -> Tensor | None:
        """Encodes texts into the images' space (B,D), where the encoder has a text side."""
        return None


@attrs.frozen(kw_only=True)
class EncoderConfig(Component):
    """The base of image encoder configs.

    Attributes:
        depends_on_index: whether a feature depends on its image's number in the data set, as
            that of a row in a file does; where it does not, images may come and go beside it.
    """

    kind: ClassVar[str] = "encoder"

    @property
    def depends_on_index(self) -> bool:
        """See the attributes; to be on the safe side unless a config says otherwise."""
        return True

    @abstractmethod
    def build(self, device: str = "cpu") -> Encoder:
        """Loads the encoder's weights onto a device."""
