"""`Bridging`: a bridge with what it has learned, as a part of a model that is saved with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256

import torch
from torch import Tensor, nn
from typing_extensions import override

from prefixcap.captioning.feature_rows import AnyFeatures, FeatureRows
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.bridge import Bridge, BridgeConfig
from prefixcap.plugin import specs

LEARNED = "learned_"
"""The beginning of the names of buffers that hold what a bridge has learned."""


class Bridging(nn.Module):
    """The two sides of a bridge; in training mode, texts get noise of torch's random state.

    Args:
        bridge: The bridge.
        learned: What it has learned.
        name: Its name in errors.
    """

    def __init__(self, bridge: Bridge, learned: Mapping[str, Tensor], name: str) -> None:
        super().__init__()
        self._bridge, self._name = bridge, name
        for key, tensor in learned.items():
            self.register_buffer(LEARNED + key, tensor.detach().clone().float())

    @classmethod
    def fit(cls, config: BridgeConfig, texts: AnyFeatures, images: AnyFeatures) -> Bridging:
        """Build a bridge, and let it learn from training texts (T,D) and images (B,D)."""
        bridge = config.build()
        return cls(bridge, bridge.learn(texts, images), specs.to_spec(config))

    @classmethod
    def restore(cls, config: BridgeConfig, state: Mapping[str, Tensor]) -> Bridging:
        """Build a bridge with the buffers of a saved one."""
        learned = {name.removeprefix(LEARNED): tensor for name, tensor in state.items()}
        return cls(config.build(), learned, specs.to_spec(config))

    @property
    def learned(self) -> dict[str, Tensor]:
        """What the bridge has learned."""
        return {name.removeprefix(LEARNED): tensor for name, tensor in self.named_buffers()}

    def digest(self) -> str:
        """Return a hash of what the bridge has learned."""
        content = sha256()
        for name, tensor in sorted(self.learned.items()):
            content.update(repr((name, tuple(tensor.shape))).encode())
            content.update(tensor.cpu().contiguous().numpy().tobytes())
        return content.hexdigest()[:16]

    def text_side(self, texts: Tensor) -> Tensor:
        """Return what the mapper gets for texts (B,D): (B,D).

        Raises:
            PrefixcapError: If the bridge returns another shape.
        """
        noise = torch.randn_like(texts) if self.training else None
        return self._checked(self._bridge.text_side(texts, self.learned, noise), texts, "text")

    def image_side(self, images: Tensor) -> Tensor:
        """Return what the mapper gets for images (B,D): (B,D); raises like `text_side`."""
        return self._checked(self._bridge.image_side(images, self.learned), images, "image")

    def measure(self, images: Tensor) -> Mapping[str, Tensor]:
        """Return the bridge's own numbers (B) about images (B,D), by name."""
        return self._bridge.measure(images, self.learned)

    def _checked(self, result: Tensor, given: Tensor, side: str) -> Tensor:
        if result.shape != given.shape:
            raise PrefixcapError(
                f"the {side} side of the bridge {self._name!r} returned {tuple(result.shape)} "
                f"instead of {tuple(given.shape)}"
            )
        return result


class BridgedRows(FeatureRows):
    """Features of files after one side of a bridge, which is computed when they are read."""

    def __init__(self, features: FeatureRows, side: Callable[[Tensor], Tensor]) -> None:
        self._features, self._side = features, side

    @property
    @override
    def shape(self) -> tuple[int, ...]:
        return self._features.shape

    @override
    def digest(self) -> str:
        return specs.digest(self._features.digest(), "bridged")

    @override
    def read(self, rows: Sequence[int]) -> Tensor:
        return self._side(self._features.read(rows))


def bridged(features: AnyFeatures, side: Callable[[Tensor], Tensor]) -> AnyFeatures:
    """Return features (B,D) after one side of a bridge."""
    if isinstance(features, Tensor):
        return side(features.float())
    return BridgedRows(features, side)
