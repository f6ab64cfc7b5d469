"""A correct retriever, and its mutants."""

from __future__ import annotations

from itertools import count

import torch
from torch import Tensor

from prefixcap.interfaces.retriever import Neighbors, Retriever

BUILDS = count()
OF_MANY = ("repeats", "blind", "by batch size", "by chance")


class TwistedRetriever(Retriever):
    """Sorts all cosines."""

    def __init__(self, twist: str, vectors: Tensor) -> None:
        self.vectors = vectors
        self.number = next(BUILDS)
        self.twist = "" if len(vectors) < 9 and twist in OF_MANY else twist

    def nearest(self, queries: Tensor, k: int) -> Neighbors:
        if self.twist == "draws":
            torch.rand(1)
        if self.twist == "needs queries":
            queries[0]
        cosines = queries.double() @ self.vectors.double().T
        if self.twist == "blind":
            cosines[:, 7] = -1
        if self.twist == "by batch size":
            cosines[:, 5] -= 0.01 * len(queries)
        if self.twist == "by chance":
            cosines[:, 20 + self.number % 30] = 0.99
        if self.twist == "in place":
            queries *= 1.5
        rows = cosines.argsort(dim=1, descending=True, stable=True)
        if self.twist == "ties reversed":
            rows = (
                len(self.vectors) - 1 - cosines.flip(1).argsort(dim=1, descending=True, stable=True)
            )
        rows = rows[:, :k]
        if self.twist == "repeats":
            rows = torch.cat([rows[:, :2], rows[:, :1], rows[:, 3:]], 1)
        if self.twist == "needs k":
            rows = torch.cat([rows[:, :1]] * (k - rows.shape[1]) + [rows], 1)
        values = cosines.gather(1, rows)
        return Neighbors(rows, 1 - values if self.twist == "distances" else values)
