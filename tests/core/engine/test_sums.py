from __future__ import annotations

import pytest
import torch

from prefixcap.engine.sums import logsumexp


@pytest.mark.parametrize(("rows", "vocabulary"), [(0, 5), (1, 7), (600, 3000), (3, 600_000)])
def test_parts_give_what_the_whole_gives(rows: int, vocabulary: int) -> None:
    stream = torch.Generator().manual_seed(rows)
    logits = torch.randn(rows, vocabulary, generator=stream) * 5
    assert torch.equal(logsumexp(logits), logits.logsumexp(-1))


def test_impossible_tokens_count_for_nothing() -> None:
    logits = torch.full((400, 2000), -torch.inf)
    logits[:, 3] = 1.5
    assert torch.equal(logsumexp(logits), torch.full((400,), 1.5))
