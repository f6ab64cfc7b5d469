"""Seconds of building an index and of finding ten neighbors, on random vectors in clusters.

Usage: python benchmarks/retrieval.py [VECTORS] [QUERIES]
"""

from __future__ import annotations

import sys
import time

import torch

import prefixcap
from prefixcap.interfaces.retrieval.retriever import RetrieverConfig, directions
from prefixcap.plugin.registry import default_registry

WIDTH, K = 512, 10
SPECS = ("exact", "faiss:index=ivf", "faiss:index=hnsw")


def vectors(count: int, seed: int) -> torch.Tensor:
    """Draw vectors (M,512) around a thousand centers, as features of photographs have clusters."""
    centers = torch.randn(1000, WIDTH, generator=torch.Generator().manual_seed(0))
    stream = torch.Generator().manual_seed(seed)
    chosen = torch.randint(1000, (count,), generator=stream)
    return directions(centers[chosen] + torch.randn(count, WIDTH, generator=stream))


def main(number: int = 40_000, asked: int = 1000) -> None:
    stored, queries = vectors(number, 1), vectors(asked, 2)
    expected = None
    for spec in SPECS:
        begin = time.perf_counter()
        index = default_registry().parse(RetrieverConfig, spec).build(stored)
        built = time.perf_counter()
        rows = index.nearest(queries, K).rows
        found = time.perf_counter()
        expected = rows if expected is None else expected
        recall = (rows[:, :, None] == expected[:, None]).any(2).float().mean().item()
        print(
            f"{spec:17} built in {built - begin:6.2f} s, "
            f"{asked} queries in {found - built:6.2f} s, recall@{K} {recall:.3f}"
        )


if __name__ == "__main__":
    print(f"prefixcap {prefixcap.__version__}, torch {torch.__version__}")
    main(*map(int, sys.argv[1:]))
