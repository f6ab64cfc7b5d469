"""Features that are read from files row by row, so that they need not fit into memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from math import prod

import torch
from torch import Tensor

CHUNK = 1024
"""The number of images that a pass over all features reads together."""
PART = 1 << 28
"""The bytes of features that are in memory together while images are captioned."""


class FeatureRows(ABC):
    """Features (B,D) or (B,N,D) in files; indexing reads rows, as float32 on the CPU."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """(B,D) or (B,N,D)."""

    @abstractmethod
    def digest(self) -> str:
        """Return what identifies the features, without reading them."""

    @abstractmethod
    def read(self, rows: Sequence[int]) -> Tensor:
        """Read rows, all of them finite.

        Raises:
            PrefixcapError: If one cannot be read or is not finite.
        """

    @property
    def ndim(self) -> int:
        """2 for (B,D), 3 for (B,N,D)."""
        return len(self.shape)

    def __len__(self) -> int:
        """B, the number of images."""
        return self.shape[0]

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        """Read the rows of a slice, or those that a tensor (B') of numbers names."""
        numbers = range(len(self))[index] if isinstance(index, slice) else index.tolist()
        return self.read(numbers) if numbers else torch.empty(0, *self.shape[1:])


AnyFeatures = Tensor | FeatureRows
"""Features (B,D) or (B,N,D), in memory or in files."""


def parts(features: AnyFeatures, rows: Sequence[int]) -> Iterator[Sequence[int]]:
    """Yield some rows in order, as many at a time as `PART` bytes hold."""
    count = max(1, PART // (4 * prod(features.shape[1:])))
    for start in range(0, len(rows), count):
        yield rows[start : start + count]


def chunks(features: AnyFeatures) -> Iterator[Tensor]:
    """Yield all features in order, `CHUNK` images at a time."""
    for start in range(0, len(features), CHUNK):
        yield features[start : start + CHUNK]
