"""Retrievers: the nearest of many vectors, by cosine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import attrs

from prefixcap.interfaces.component import Component

if TYPE_CHECKING:
    from torch import Tensor

GRID = 2.0**24
"""The entries of directions are multiples of 1 / GRID, about the precision of float32."""
MISSING = -1
"""The row of a neighbor that was not found."""


@attrs.frozen(eq=False)
class Neighbors:
    """The nearest vectors of some queries.

    Attributes:
        rows: (B,K) their rows, the nearest first, those of equal cosine by row; `MISSING` at the
            end where an approximate index found fewer.
        cosines: (B,K), float64; minus infinity where the row is missing.
    """

    rows: Tensor
    cosines: Tensor

    @classmethod
    def cat(cls, parts: Sequence[Neighbors]) -> Neighbors:
        """Join the neighbors of several groups of queries."""
        import torch

        return cls(torch.cat([p.rows for p in parts]), torch.cat([p.cosines for p in parts]))


class Retriever(ABC):
    """An index of the vectors that it was built for."""

    @abstractmethod
    def nearest(self, queries: Tensor, k: int) -> Neighbors:
        """Find the vectors with the highest cosines.

        The result for a query does not depend on the other queries.

        Args:
            queries: (B,D), made by `directions`.
            k: K, at least 1; with fewer vectors, K is their number.
        """


@attrs.frozen(kw_only=True)
class RetrieverConfig(Component):
    """The base of retriever configs."""

    kind: ClassVar[str] = "retriever"

    @abstractmethod
    def build(self, vectors: Tensor) -> Retriever:
        """Build an index of vectors (M,D), made by `directions`."""


def directions(vectors: Tensor) -> Tensor:
    """Divide vectors (B,D), or the mean of tokens (B,N,D), by their length.

    The entries are rounded to multiples of 1 / `GRID`. Sums of their products are then exact in
    float64, so that a cosine does not depend on the batch in which it was computed, and equal ones
    are equal to the last bit. Zeros remain zeros.

    Returns:
        (B,D), float32.
    """
    vectors = vectors.double()
    if vectors.ndim == 3:
        vectors = vectors.mean(1)
    length = vectors.norm(dim=-1, keepdim=True)
    rounded: Tensor = (vectors / length.clamp_min(1e-300) * GRID).round() / GRID
    return rounded.float()


def nearest_of(cosines: Tensor, rows: Tensor, k: int) -> Neighbors:
    """Choose the K highest of candidates (B,C) with their rows, in the order of `Neighbors`.

    Candidates of cosine minus infinity are missing. Of equal ones, the lowest rows are chosen.
    """
    by_row = rows.argsort(dim=1, stable=True)
    cosines, rows = cosines.gather(1, by_row), rows.gather(1, by_row)
    order = cosines.argsort(dim=1, descending=True, stable=True)[:, :k]
    cosines, rows = cosines.gather(1, order), rows.gather(1, order)
    return Neighbors(rows.masked_fill(cosines.isneginf(), MISSING), cosines)
