"""Exact retrieval and indexes of faiss, against plain loops."""

from __future__ import annotations

import importlib.util
from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from prefixcap_retrieval import exact
from prefixcap_retrieval.configs import Exact, Faiss
from torch import Tensor

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.retrieval.retriever import GRID, Neighbors, directions
from prefixcap.testing import run_checks


def drawn(count: int, width: int, seed: int, few: bool = False) -> Tensor:
    """Draw vectors; with `few`, of entries -1, 0 and 1, so that many are equal."""
    stream = torch.Generator().manual_seed(seed)
    if few:
        return directions(torch.randint(-1, 2, (count, width), generator=stream).float())
    return directions(torch.randn(count, width, generator=stream))


def by_loops(vectors: Tensor, queries: Tensor, k: int) -> list[list[tuple[int, Fraction]]]:
    """Rank all vectors by their cosines in exact fractions, then by row."""
    result = []
    for query in queries.tolist():
        cosines = [
            sum((Fraction(a) * Fraction(b) for a, b in zip(query, vector, strict=True)), Fraction())
            for vector in vectors.tolist()
        ]
        ranked = sorted(range(len(cosines)), key=lambda row: (-cosines[row], row))
        result.append([(row, cosines[row]) for row in ranked[:k]])
    return result


def pairs(found: Neighbors) -> list[list[tuple[int, Fraction]]]:
    return [
        [(row, Fraction(cosine)) for row, cosine in zip(rows, cosines, strict=True)]
        for rows, cosines in zip(found.rows.tolist(), found.cosines.tolist(), strict=True)
    ]


@given(
    count=st.integers(1, 40),
    width=st.integers(1, 6),
    k=st.integers(1, 45),
    seed=st.integers(0, 99),
    few=st.booleans(),
    block=st.integers(1, 50),
)
@settings(max_examples=40)
def test_all_cosines_are_exact_in_blocks_of_any_size(
    count: int, width: int, k: int, seed: int, few: bool, block: int
) -> None:
    vectors, queries = drawn(count, width, seed, few), drawn(5, width, seed + 1, few)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact, "VECTORS", block)
        patch.setattr(exact, "QUERIES", 1 + block // 8)
        assert pairs(Exact().build(vectors).nearest(queries, k)) == by_loops(vectors, queries, k)


@given(count=st.integers(2, 60), k=st.integers(1, 9), seed=st.integers(0, 99))
@settings(max_examples=20)
def test_a_flat_index_finds_what_exact_retrieval_finds(count: int, k: int, seed: int) -> None:
    vectors, queries = drawn(count, 8, seed), drawn(6, 8, seed + 1)
    flat, all_cosines = (each.build(vectors).nearest(queries, k) for each in (Faiss(), Exact()))
    assert torch.equal(flat.rows, all_cosines.rows)
    assert torch.equal(flat.cosines, all_cosines.cosines)


@pytest.mark.parametrize(
    "config",
    [Faiss(index="ivf", lists=3, probes=3), Faiss(index="hnsw", links=4), Faiss(index="ivf")],
    ids=["ivf", "hnsw", "default lists"],
)
def test_other_indexes_conform_and_find_most_neighbors(config: Faiss) -> None:
    broken = {result.name: result.problem for result in run_checks(config) if not result.ok}
    assert broken == {}
    vectors, queries = drawn(400, 8, 3), drawn(20, 8, 4)
    found = config.build(vectors).nearest(queries, 5).rows.tolist()
    nearest = Exact().build(vectors).nearest(queries, 5).rows.tolist()
    hits = sum(len(set(a) & set(b)) for a, b in zip(found, nearest, strict=True))
    assert hits >= 90


def test_neighbors_that_an_index_misses_are_missing() -> None:
    index = Faiss(index="ivf", lists=8, probes=1).build(drawn(16, 4, 0))
    found = index.nearest(drawn(4, 4, 1), 16)
    assert (found.rows == -1).any()
    assert torch.equal(found.rows == -1, found.cosines.isneginf())
    # they are at the end
    assert torch.equal((found.rows == -1).int(), (found.rows == -1).int().cummax(1).values)


def test_more_clusters_than_vectors_are_refused() -> None:
    with pytest.raises(PrefixcapError, match=r"lists=9 needs at least as many .* there are 5$"):
        Faiss(index="ivf", lists=9).build(drawn(5, 4, 0))


def test_without_faiss_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec

    def hidden(name: str, *rest: Any) -> Any:
        return None if name == "faiss" else find(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", hidden)
    with pytest.raises(PrefixcapError, match=r"pip install 'prefixcap\[faiss\]'"):
        Faiss().build(drawn(5, 4, 0))


def test_directions_are_on_the_grid_and_of_length_one() -> None:
    vectors = torch.randn(7, 3, 50, generator=torch.Generator().manual_seed(0))
    one = directions(vectors)
    assert torch.equal(one * GRID, (one * GRID).round())
    assert torch.allclose(one, torch.nn.functional.normalize(vectors.mean(1), dim=-1), atol=1e-6)
    assert torch.equal(directions(vectors[2:3]), one[2:3])
    assert torch.equal(directions(torch.zeros(2, 3)), torch.zeros(2, 3))
    # numbers of half the precision are on the grid too
    half = one.half().float()
    assert torch.equal(half * GRID, (half * GRID).round())
