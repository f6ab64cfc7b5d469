"""Exact retrieval: all cosines, in blocks of bounded size."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from prefixcap.interfaces.retrieval.retriever import Neighbors, Retriever, nearest_of

QUERIES, VECTORS = 256, 8192
"""The size of a block of cosines, of which one is in memory."""


class ExactRetriever(Retriever):
    """Compares a query with all vectors (M,D)."""

    def __init__(self, vectors: Tensor) -> None:
        self._vectors = vectors

    @override
    def nearest(self, queries: Tensor, k: int) -> Neighbors:
        return Neighbors.cat([self._nearest(q.double(), k) for q in torch.split(queries, QUERIES)])

    def _nearest(self, queries: Tensor, k: int) -> Neighbors:
        rows = queries.new_empty(len(queries), 0, dtype=torch.long)
        best = Neighbors(rows, queries.new_empty(rows.shape))
        for number, block in enumerate(torch.split(self._vectors, VECTORS)):
            cosines = queries @ block.double().T
            columns = highest(cosines, k)
            best = nearest_of(
                torch.cat([best.cosines, cosines.gather(1, columns)], 1),
                torch.cat([best.rows, columns + number * VECTORS], 1),
                k,
            )
        return best


def highest(scores: Tensor, k: int) -> Tensor:
    """Return the columns (B,K) of the highest scores (B,C), of equal ones the first."""
    if k >= scores.shape[1]:
        return torch.arange(scores.shape[1], device=scores.device).expand(len(scores), -1)
    found = scores.topk(k + 1)
    columns = found.indices[:, :k].clone()
    # topk chooses any of equal scores, and a sort of all columns takes much longer
    tied = found.values[:, k - 1] == found.values[:, k]
    columns[tied] = scores[tied].argsort(dim=1, descending=True, stable=True)[:, :k]
    return columns
