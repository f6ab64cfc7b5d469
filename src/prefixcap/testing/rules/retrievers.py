"""Rules for retrievers."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from prefixcap.interfaces.retrieval.retriever import (
    MISSING,
    Neighbors,
    Retriever,
    RetrieverConfig,
    directions,
)
from prefixcap.testing.case import Case
from prefixcap.testing.rules.helpers import preserve_random_states, random_states, seed_all
from prefixcap.testing.rules.rule import require, rule

K = 5


def vectors(count: int = 60, seed: int = 0) -> Tensor:
    """Draw vectors (M,8), of which the last four are the first four again."""
    stream = torch.Generator().manual_seed(seed)
    drawn = directions(torch.randn(count, 8, generator=stream))
    return torch.cat([drawn[: count - 4], drawn[:4]])


def built(case: Case, stored: Tensor | None = None) -> Retriever:
    """Build the retriever for some vectors, by default always the same."""
    return cast(RetrieverConfig, case.config).build(vectors() if stored is None else stored)


def found(case: Case, queries: Tensor, k: int = K) -> Neighbors:
    """Return the neighbors of queries among the usual vectors."""
    return case.once("index", lambda: built(case)).nearest(queries, k)


@rule("neighbors")
def neighbors(case: Case) -> None:
    """Neighbors are different stored vectors with their cosines, ordered by cosine, then by row."""
    queries, stored = torch.cat([vectors(6, seed=1), vectors()[:4]]), vectors()
    result = found(case, queries)
    shape = tuple(result.rows.shape), tuple(result.cosines.shape)
    require(shape == ((10, K),) * 2, f"for 10 queries and k={K}, rows and cosines are {shape}")
    exact = queries.double() @ stored.double().T
    for query, (rows, cosines) in enumerate(zip(result.rows, result.cosines, strict=True)):
        known = [row for row in rows.tolist() if row != MISSING]
        require(
            len(set(known)) == len(known) and all(0 <= row < len(stored) for row in known),
            f"the rows of query {query} are {known}, and there are {len(stored)} vectors",
        )
        off = (cosines[: len(known)] - exact[query, known]).abs().max().item() if known else 0.0
        require(off < 1e-9, f"the cosines of query {query} are wrong by {off:.2g}")
        ordered = sorted(known, key=lambda row: (-exact[query, row].item(), row))
        require(known == ordered, f"query {query} has neighbors {known} instead of {ordered}")


@rule("finds-itself")
def finds_itself(case: Case) -> None:
    """The nearest neighbor of a stored vector is itself, or the first one that equals it."""
    rows = found(case, vectors()).rows[:, 0].tolist()
    expected = [*range(56), *range(4)]
    wrong = [row for row, each in enumerate(rows) if each != expected[row]]
    require(not wrong, f"of 60 stored vectors, those in rows {wrong} are not found")


@rule("query-alone")
def query_alone(case: Case) -> None:
    """The neighbors of a query do not depend on the other queries."""
    queries = torch.cat([vectors(30, seed=2), vectors()[:10]])
    together = found(case, queries)
    for row in range(0, len(queries), 3):
        alone = found(case, queries[row : row + 1])
        same = torch.equal(alone.rows[0], together.rows[row])
        require(
            same and torch.equal(alone.cosines[0], together.cosines[row]),
            f"query {row} has neighbors {alone.rows[0].tolist()} alone, and "
            f"{together.rows[row].tolist()} with others",
        )


@rule("few-vectors")
def few_vectors(case: Case) -> None:
    """With fewer vectors than are asked for, all of them are found; no query finds nothing."""
    stored = vectors(6)[:3]
    rows = built(case, stored).nearest(stored, K).rows
    complete = sorted(rows[0].tolist()) == [0, 1, 2]
    require(complete, f"of 3 vectors, the rows {rows[0].tolist()} are found")
    none = found(case, stored[:0])
    require(len(none.rows) == 0, f"without a query, {len(none.rows)} have neighbors")


@rule("repeatable")
def repeatable(case: Case) -> None:
    """An index that is built again finds the same neighbors."""
    queries = vectors(12, seed=3)
    one, two = found(case, queries).rows, built(case).nearest(queries, K).rows
    require(torch.equal(one, two), "two indexes of the same vectors find different neighbors")


@rule("inputs-untouched")
def inputs_untouched(case: Case) -> None:
    """Vectors, queries and global random states stay as they are."""
    stored, queries = vectors(), vectors(8, seed=4)
    with preserve_random_states():
        seed_all(5)
        before = random_states()
        built(case, stored).nearest(queries, K)
        changed = [name for name, state in random_states().items() if state != before[name]]
    require(not changed, f"the global random state of {', '.join(changed)} changed")
    same = torch.equal(stored, vectors()) and torch.equal(queries, vectors(8, seed=4))
    require(same, "the vectors or the queries were changed")
