"""`Prefixer`: from features to prefixes by a bridge, a normalization, the mapper and a gain."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from prefixcap.captioning.feature_rows import AnyFeatures, chunks
from prefixcap.engine.prefixes.packing import pack
from prefixcap.errors import PrefixcapError

if TYPE_CHECKING:
    from prefixcap.captioning.bridging import Bridging
    from prefixcap.interfaces.mapper import MapperShape


MEASURED = 50
"""The smallest number of images whose spread is measured."""
MAX_SHIFT = 1.6
"""The ratio of the features' size to that in training (or its inverse) that causes a warning."""
MAX_DEVIATIONS = 5
"""The difference, in standard deviations of the images in training, that causes a warning too."""
ROUNDING = 1e-12
"""The relative size of a variance that is the rounding error of sums in float64."""


class FeatureNorm(nn.Module):
    """Optionally divides features by their norm, then subtracts a mean and scales.

    Args:
        mean: (D), subtracted from features.
        scale: The factor applied afterwards.
        normalize: Whether features are divided by their norm first.
    """

    mean: Tensor
    scale: Tensor
    normalize: Tensor

    def __init__(self, mean: Tensor, scale: float = 1.0, *, normalize: bool = False) -> None:
        super().__init__()
        self.register_buffer("mean", mean.detach().clone().float())
        self.register_buffer("scale", torch.tensor(float(scale)))
        self.register_buffer("normalize", torch.tensor(normalize))

    @classmethod
    def fit(
        cls,
        features: AnyFeatures,
        *,
        normalize: bool = False,
        center: bool = True,
        scale: float | None = None,
        rms: float | None = None,
    ) -> FeatureNorm:
        """Fit the mean and the scale to training features.

        `scale` takes precedence over `rms`, the root mean square that the training features
        (B,D) or (B,N,D) are scaled to; the other arguments are those of `FeatureNorm`.
        """
        width = features.shape[-1]
        total, squares = torch.zeros(2, width, dtype=torch.float64)
        count = 0
        for chunk in chunks(features):
            flat = chunk.reshape(-1, width).float()
            flat = (nn.functional.normalize(flat, dim=-1) if normalize else flat).double().cpu()
            total, squares, count = (
                total + flat.sum(0),
                squares + flat.square().sum(0),
                count + len(flat),
            )
        mean = total / count if center else torch.zeros_like(total)
        square = (squares / count).mean().item()
        variance = square - mean.square().mean().item()
        # of constant features, it is a rounding error
        current = math.sqrt(variance) if variance > ROUNDING * square else 0
        if scale is None:
            scale = 1.0 if rms is None or current == 0 else rms / current
        return cls(mean, scale, normalize=normalize)

    def measure(self, features: AnyFeatures) -> dict[str, Any]:
        """Measure the size of features (B,D) or (B,N,D).

        Returns:
            "norm", the mean norm of the raw features; "rms", the root mean square of the
            normalized ones, which also reflects a shifted mean; with several images "rms_std", its
            standard deviation over images. If no mean is subtracted, "center", the mean (D) of the
            normalized features, and "spread" and "spread_std", "rms" and "rms_std" around it.
        """
        norm, total = 0.0, torch.zeros_like(self.mean, dtype=torch.float64)
        squares = []
        with torch.no_grad():
            for chunk in chunks(features):
                norm += chunk.float().norm(dim=-1).mean().item() * len(chunk) / len(features)
                normed = self(chunk)
                total += normed.flatten(0, -2).double().mean(0) * len(chunk) / len(features)
                squares.append(_mean_squares(normed))
            size: dict[str, Any] = {"norm": norm, **_root_mean_square(torch.cat(squares), "rms")}
            if not self.mean.any():
                center = total.to(self.mean)
                size["center"] = center.tolist()
                around = [_mean_squares(self(chunk) - center) for chunk in chunks(features)]
                size |= _root_mean_square(torch.cat(around), "spread")
        return size

    def shift(self, features: Tensor, trained: Mapping[str, Any]) -> str | None:
        """Return a warning if features (B,D) or (B,N,D) clearly differ from those in training.

        Their size after normalization is compared with that in training, measured by `measure`,
        and with its spread where that is known; so is their distance from the mean in training. It
        shows another scale, and also another encoder, whose features have another mean.
        """
        with torch.no_grad():
            norm = features.float().norm(dim=-1).mean().item()
            normed = self(features)
        rms, usual = _root_mean_square(_mean_squares(normed), "rms")["rms"], trained["rms"]
        differs = _is_unusual(rms, usual, trained.get("rms_std"))
        center, spread = trained.get("center"), 0.0
        if center:
            around = _mean_squares(normed - normed.new_tensor(center))
            spread = _root_mean_square(around, "spread")["spread"]
            differs |= _is_unusual(spread, trained["spread"], trained.get("spread_std"))
        if not differs:
            return None
        usual_spread = trained.get("spread", 0.0)
        apart = f" and {spread:.3g} around the mean (in training {usual_spread:.3g})"
        return (
            f"the features differ from those of the training: their mean norm is {norm:.3g} (in "
            f"training {trained['norm']:.3g}), and after the training's normalization their root "
            f"mean square is {rms:.3g} (in training {usual:.3g}){apart if center else ''}: use "
            "features of the same encoder and normalization"
        )

    def forward(self, features: Tensor) -> Tensor:
        """Normalize features (B,D) or (B,N,D)."""
        features = features.to(self.mean)
        if self.normalize:
            features = nn.functional.normalize(features, dim=-1)
        return (features - self.mean) * self.scale


def _mean_squares(normed: Tensor) -> Tensor:
    """Return the mean square (B) of each image's features (B,D) or (B,N,D)."""
    return normed.square().flatten(1).mean(1)


def _root_mean_square(squares: Tensor, name: str) -> dict[str, float]:
    """Return the root of the mean of squares (B) and, of enough images, its standard deviation."""
    size = {name: squares.mean().sqrt().item()}
    if len(squares) >= MEASURED:
        size[f"{name}_std"] = squares.sqrt().std().item()
    return size


def _is_unusual(size: float, usual: float, deviation: float | None) -> bool:
    low, high = usual / MAX_SHIFT, usual * MAX_SHIFT
    if deviation is not None:
        deviation = max(deviation, usual / 100)  # that of vectors of length 1 is rounding
        low = max(low, usual - MAX_DEVIATIONS * deviation)
        high = min(high, usual + MAX_DEVIATIONS * deviation)
    return bool(usual) and not low <= size <= high


class Prefixer(nn.Module):
    """Maps features (B,D) or (B,N,D) to prefixes (B,P,E), the mapper's output times `gain`.

    Attributes:
        noise: The standard deviation of Gaussian noise, added to normalized features in training
            mode.
        condition_dropout: The share of images that are not shown in training mode.
        bridge: Comes first, if the mapper is trained on texts instead of images.
    """

    gain: Tensor

    def __init__(
        self, norm: FeatureNorm, mapper: nn.Module, shape: MapperShape, gain: float = 1.0
    ) -> None:
        super().__init__()
        self.noise = 0.0
        self.condition_dropout = 0.0
        self.bridge: Bridging | None = None
        self.norm = norm
        self.mapper = mapper
        self.shape = shape
        self.register_buffer("gain", torch.tensor(float(gain)))

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B,D) or (B,N,D) to prefixes (B,P,E), as the language model takes them.

        Raises:
            PrefixcapError: If the features, or the mapper's output, have another shape.
        """
        self.check(features)
        return self._prefix(self.of_images(features))

    def of_texts(self, texts: Tensor) -> Tensor:
        """Map embeddings of texts (B,D) to prefixes (B,P,E), as a bridge needs it in training."""
        assert self.bridge is not None
        self.check(texts)
        return self._prefix(self.bridge.text_side(texts.to(self.norm.mean)))

    def of_images(self, features: Tensor) -> Tensor:
        """Return what is normalized of features (B,D) or (B,N,D): what a bridge makes of them."""
        if self.bridge is None:
            return features
        return self.bridge.image_side(features.to(self.norm.mean))

    def mapped(self, features: Tensor) -> Tensor:
        """Map features (B,D) or (B,N,D) to what the mapper gives: (B,P,E), or states (B,P,W)."""
        self.check(features)
        return self._map(self._normed(self.of_images(features)))

    def _prefix(self, features: Tensor) -> Tensor:
        normed = self._normed(features)
        return pack(self._map(normed), normed, self.shape)

    def _normed(self, features: Tensor) -> Tensor:
        normed: Tensor = self.norm(features)
        if self.training and self.noise:
            normed = normed + self.noise * torch.randn_like(normed)
        if self.training and self.condition_dropout:
            dropped = torch.rand(len(normed), device=normed.device) < self.condition_dropout
            normed = normed.masked_fill(dropped.view(-1, *[1] * (normed.ndim - 1)), 0.0)
        return normed

    def _map(self, normed: Tensor) -> Tensor:
        prefix: Tensor = self.mapper(normed) * self.gain
        width = self.shape.state_width or self.shape.embedding_width
        expected = (len(normed), self.shape.prefix_length, width)
        if tuple(prefix.shape) != expected:
            raise PrefixcapError(f"the mapper returned {tuple(prefix.shape)} instead of {expected}")
        return prefix

    def null_prefix(self) -> Tensor:
        """Return the prefix (P,E) of an image that is not shown: that of normalized zeros.

        They are the mean of the training images, unless normalization does not center features.
        """
        shape = self.shape
        tokens = () if shape.feature_tokens is None else (shape.feature_tokens,)
        blank = self.norm.mean.new_zeros(1, *tokens, shape.feature_width)
        return pack(self._map(blank), blank, shape)[0]

    def check(self, features: Tensor) -> None:
        """Raise a `PrefixcapError` if features have another width or number of tokens."""
        shape = self.shape
        per_image: tuple[int, ...] = (shape.feature_width,)
        if shape.feature_tokens is not None:
            per_image = (shape.feature_tokens, shape.feature_width)
        if tuple(features.shape[1:]) != per_image:
            known = ",".join(map(str, per_image))
            raise PrefixcapError(
                f"features of shape {tuple(features.shape)} do not fit: the mapper takes "
                f"(B,{known})"
            )
