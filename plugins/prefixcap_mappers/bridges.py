"""Bridges: formulas on embeddings (B,D), all of which return vectors of length 1."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import normalize
from typing_extensions import override

from prefixcap.interfaces.bridge import Bridge, Embeddings
from prefixcap.util.memory import require_memory

_CHUNK = 1024
_SIMILARITIES = 1 << 25
"""The most similarities of images and memory entries in memory together: 128 MB."""


class NoisyTexts(Bridge):
    """Adds noise of a standard deviation to texts."""

    def __init__(self, noise: float) -> None:
        self.noise = noise

    @override
    def learn(self, texts: Embeddings, images: Embeddings) -> Mapping[str, Tensor]:
        return {}

    @override
    def text_side(
        self, texts: Tensor, learned: Mapping[str, Tensor], noise: Tensor | None
    ) -> Tensor:
        return _noisy(normalize(texts, dim=-1), self.noise, noise)

    @override
    def image_side(self, images: Tensor, learned: Mapping[str, Tensor]) -> Tensor:
        return normalize(images, dim=-1)


class RemovedMeans(Bridge):
    """Subtracts from each side its mean."""

    def __init__(self, noise: float) -> None:
        self.noise = noise

    @override
    def learn(self, texts: Embeddings, images: Embeddings) -> Mapping[str, Tensor]:
        return {"text_mean": mean_direction(texts), "image_mean": mean_direction(images)}

    @override
    def text_side(
        self, texts: Tensor, learned: Mapping[str, Tensor], noise: Tensor | None
    ) -> Tensor:
        return _noisy(normalize(texts, dim=-1) - learned["text_mean"], self.noise, noise)

    @override
    def image_side(self, images: Tensor, learned: Mapping[str, Tensor]) -> Tensor:
        return normalize(normalize(images, dim=-1) - learned["image_mean"], dim=-1)


class ShiftedTexts(Bridge):
    """Moves texts by a share of the difference between the means."""

    def __init__(self, noise: float, shift: float) -> None:
        self.noise, self.shift = noise, shift

    @override
    def learn(self, texts: Embeddings, images: Embeddings) -> Mapping[str, Tensor]:
        if not self.shift:
            return {}
        return {"shift": self.shift * (mean_direction(images) - mean_direction(texts))}

    @override
    def text_side(
        self, texts: Tensor, learned: Mapping[str, Tensor], noise: Tensor | None
    ) -> Tensor:
        moved = normalize(texts, dim=-1) + learned.get("shift", 0.0)
        return _noisy(moved, self.noise, noise)

    @override
    def image_side(self, images: Tensor, learned: Mapping[str, Tensor]) -> Tensor:
        return normalize(images, dim=-1)


class TextMemory(Bridge):
    """Replaces images by means of the texts that are similar to them."""

    def __init__(self, size: int | None, temperature: float, noise: float, seed: int) -> None:
        self.size, self.temperature = size, temperature
        self.noise, self.seed = noise, seed

    @override
    def learn(self, texts: Embeddings, images: Embeddings) -> Mapping[str, Tensor]:
        count, width = texts.shape
        entries = min(count, self.size or count)
        require_memory(
            2 * 4 * entries * width,  # the entries and a copy, float32
            f"the bridge's memory of {entries:,} texts",
            cure="set a smaller size, as in --bridge memory:size=10000",
        )
        rows = torch.arange(count)
        if entries < count:
            stream = torch.Generator().manual_seed(self.seed)
            rows = torch.randperm(count, generator=stream)[:entries].sort().values
        memory = torch.empty(entries, width)
        for start in range(0, entries, _CHUNK):
            part = texts[rows[start : start + _CHUNK]].float()
            memory[start : start + _CHUNK] = normalize(part, dim=-1)
        return {"memory": memory}

    @override
    def text_side(
        self, texts: Tensor, learned: Mapping[str, Tensor], noise: Tensor | None
    ) -> Tensor:
        return _noisy(normalize(texts, dim=-1), self.noise, noise)

    @override
    def image_side(self, images: Tensor, learned: Mapping[str, Tensor]) -> Tensor:
        memory = learned["memory"]
        parts = [weights @ memory for weights in self._weights(images, memory)]
        return normalize(torch.cat(parts), dim=-1)

    @override
    def measure(self, images: Tensor, learned: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the effective number of entries (B): exp of the entropy of an image's weights."""
        parts = self._weights(images, learned["memory"])
        return {"memory entries": torch.cat([torch.special.entr(w).sum(-1).exp() for w in parts])}

    def _weights(self, images: Tensor, memory: Tensor) -> list[Tensor]:
        """Return the entries' weights for parts of the images: (b,M) each."""
        size = max(1, _SIMILARITIES // len(memory))
        parts = torch.split(normalize(images, dim=-1), size)
        return [((part @ memory.T) / self.temperature).softmax(-1) for part in parts]


def mean_direction(embeddings: Embeddings) -> Tensor:
    """Return the mean (D) of embeddings (B,D) divided by their norms."""
    total = torch.zeros(embeddings.shape[-1], dtype=torch.float64)
    for start in range(0, len(embeddings), _CHUNK):
        part = embeddings[start : start + _CHUNK].float()
        total += normalize(part, dim=-1).double().sum(0).cpu()
    return (total / len(embeddings)).float()


def _noisy(embeddings: Tensor, scale: float, noise: Tensor | None) -> Tensor:
    """Add noise (B,D) of standard deviation 1 times `scale`, if there is any, and normalize."""
    if noise is not None and scale:
        embeddings = embeddings + scale * noise
    return normalize(embeddings, dim=-1)
