from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prefixcap.engine.reductions import logsumexp, top


@pytest.mark.parametrize(("rows", "vocabulary"), [(0, 5), (1, 7), (600, 3000), (3, 600_000)])
def test_logsumexp_in_parts_equals_torch(rows: int, vocabulary: int) -> None:
    stream = torch.Generator().manual_seed(rows)
    logits = torch.randn(rows, vocabulary, generator=stream) * 5
    wanted = logits.logsumexp(-1)
    torch.testing.assert_close(logsumexp(logits), wanted, atol=2e-6, rtol=4e-6)


def test_impossible_tokens_contribute_nothing() -> None:
    logits = torch.full((400, 2000), -torch.inf)
    logits[:, 3] = 1.5
    assert torch.equal(logsumexp(logits), torch.full((400,), 1.5))
    logits[7] = -torch.inf
    assert logsumexp(logits)[7] == -torch.inf


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    rows=st.integers(0, 3),
    vocabulary=st.sampled_from([1, 9, 1023, 1024, 1025, 1151, 2000, 5000]),
    count=st.integers(1, 40),
    levels=st.sampled_from([1, 3, 10**6]),
    seed=st.integers(0, 99),
)
def test_top_equals_a_full_sort(
    rows: int, vocabulary: int, count: int, levels: int, seed: int
) -> None:
    stream = torch.Generator().manual_seed(seed)
    values = torch.randint(levels, (rows, vocabulary), generator=stream).float()
    values[values == 1] = -torch.inf
    count = min(count, vocabulary)
    result, places = top(values, count)
    wanted = values.sort(dim=-1, descending=True, stable=True)
    assert torch.equal(result, wanted.values[:, :count])
    assert torch.equal(result, values.gather(1, places))
    # Of equal values the first ones, except among impossible tokens.
    likely = result > -torch.inf
    assert torch.equal(places[likely], wanted.indices[:, :count][likely])
    assert all(len(set(row)) == count for row in places.tolist())
