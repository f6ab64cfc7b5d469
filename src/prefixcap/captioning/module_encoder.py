"""`ModuleEncoder`: the base of encoders that read pixels with a torch module."""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from typing_extensions import override

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.dataset import ImageItem
from prefixcap.interfaces.encoder import Encoder
from prefixcap.util.images import read_image

if TYPE_CHECKING:
    from PIL import Image


class ModuleEncoder(Encoder):
    """A frozen module that turns pixels (B,3,H,W) into features, in float32.

    Args:
        name: The encoder's name in messages.
        module: The module; its weights make the digest.
        settings: Whatever else the features depend on, such as the preprocessing; part of the
            digest.
    """

    def __init__(self, name: str, module: nn.Module, settings: str = "") -> None:
        self.name = name
        self.module = module.float().eval().requires_grad_(False)
        self.settings = settings
        self.device = next(module.parameters()).device

    @abstractmethod
    def pixels(self, picture: Image.Image) -> Tensor:
        """Turn an RGB picture into pixels (3,H,W); called from several threads."""

    @abstractmethod
    def features(self, pixels: Tensor) -> Tensor:
        """Turn pixels (B,3,H,W) on the module's device into features (B,D) or (B,N,D)."""

    @property
    @override
    def width(self) -> int:
        return self._shape[-1]

    @property
    @override
    def tokens(self) -> int | None:
        return self._shape[0] if len(self._shape) == 2 else None

    @override
    def preprocess(self, image: ImageItem) -> Tensor:
        if image.open is None:
            raise PrefixcapError(
                f"{image.id}: the encoder {self.name!r} needs the image, and the data set has "
                "none: use the encoder 'precomputed'"
            )
        return self.pixels(read_image(image.open, str(image.path or image.id)))

    @override
    def encode(self, inputs: Tensor) -> Tensor:
        with torch.inference_mode():
            return self.features(inputs.to(self.device)).float()

    @override
    def digest(self) -> str:
        return self._digest

    @cached_property
    def _shape(self) -> tuple[int, ...]:
        """(D) or (N,D), found by encoding a white picture."""
        from PIL import Image

        white = Image.new("RGB", (64, 64), "white")
        return tuple(self.encode(self.pixels(white)[None]).shape[1:])

    @cached_property
    def _digest(self) -> str:
        digest = sha256(self.settings.encode())
        for name, tensor in sorted(self.module.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]


def flattened(features: Tensor) -> Tensor:
    """Turn a map of features (B,D,H,W) into tokens (B,H*W,D), row by row; others stay."""
    return features.flatten(2).transpose(1, 2) if features.ndim == 4 else features
