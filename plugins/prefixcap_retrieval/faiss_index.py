"""Retrieval with an index of faiss."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import sqrt
from typing import Any

import faiss
import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.retrieval.retriever import Neighbors, Retriever, nearest_of

QUERIES = 256
"""The number of queries whose candidates are in memory together."""
FEWEST = 39
"""The number of vectors per cluster below which faiss warns that clusters mean little."""


class FaissRetriever(Retriever):
    """Asks an index of faiss for candidates and ranks them by their exact cosines.

    Raises:
        PrefixcapError: If there are fewer vectors than clusters.
    """

    def __init__(self, vectors: Tensor, *, effort: int, spare: int, **settings: Any) -> None:
        self._vectors, self._effort, self._spare = vectors, effort, spare
        with _one_thread():  # several would link the graph of "hnsw" in another order each time
            self._index = _build(vectors, **settings)

    @override
    def nearest(self, queries: Tensor, k: int) -> Neighbors:
        with _one_thread():
            return Neighbors.cat([self._nearest(q, k) for q in torch.split(queries, QUERIES)])

    def _nearest(self, queries: Tensor, k: int) -> Neighbors:
        k = min(k, len(self._vectors))
        count = min(k + self._spare, len(self._vectors))
        if isinstance(self._index, faiss.IndexHNSWFlat):
            self._index.hnsw.efSearch = max(self._effort, count)
        # one by one, because faiss adds up in another order if there are many
        found = [self._index.search(query, count)[1] for query in queries.numpy()[:, None]]
        rows = torch.from_numpy(np.concatenate(found)) if found else _none(count)
        candidates = self._vectors[rows.clamp_min(0)].double()  # (B, C, D)
        cosines = (candidates @ queries.double()[:, :, None]).squeeze(2)
        return nearest_of(cosines.masked_fill(rows < 0, -torch.inf), rows, k)


def _none(count: int) -> Tensor:
    return torch.empty(0, count, dtype=torch.long)


def _build(vectors: Tensor, index: str, lists: int | None, probes: int, links: int) -> Any:
    built: Any
    number, width = vectors.shape
    if index == "flat":
        built = faiss.IndexFlatIP(width)
    elif index == "hnsw":
        built = faiss.IndexHNSWFlat(width, links, faiss.METRIC_INNER_PRODUCT)
    else:
        lists = lists or max(1, min(round(4 * sqrt(number)), number // FEWEST))
        if lists > number:
            raise PrefixcapError(
                f"faiss: lists={lists} needs at least as many vectors, and there are {number}"
            )
        clusters = faiss.IndexFlatIP(width)
        built = faiss.IndexIVFFlat(clusters, width, lists, faiss.METRIC_INNER_PRODUCT)
        built.cp.min_points_per_centroid = 1  # of fewer, faiss warns on standard error
        built.nprobe = probes
    content = vectors.numpy()
    built.train(content)
    built.add(content)
    return built


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)
