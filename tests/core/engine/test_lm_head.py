"""The blocks of the LM head equal one product."""

from __future__ import annotations

import pytest
import torch
from core.engine.models import made, prefixes
from torch.nn import functional as F

from prefixcap import from_transformers
from prefixcap.engine.lm_head import LMHead
from prefixcap.engine.top_tokens import advance_lazily, top_tokens, top_tokens_of
from prefixcap.interfaces.session import SessionOptions
from prefixcap.interfaces.sessions.ranking_session import RankingSession
from prefixcap.testing.table_lm import TableLM

torch.set_num_threads(1)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize(
    ("size", "count"), [(3000, 10), (9001, 1), (9001, 50), (4100, 4100), (5, 9)]
)
def test_blocks_equal_one_product(size: int, count: int, dtype: torch.dtype, bias: bool) -> None:
    stream = torch.Generator().manual_seed(size)
    x, weight = (torch.randn(n, 16, generator=stream).to(dtype) for n in (130, size))
    offset = torch.randn(size, generator=stream).to(dtype) if bias else None
    head, wanted = LMHead(weight, offset), F.linear(x, weight, offset).float()
    close = {"atol": 0.2, "rtol": 0.0} if dtype == torch.bfloat16 else {"atol": 2e-5, "rtol": 2e-5}
    for rows in (1, 130):
        logits, result = head.logits(x[:rows]), head.top_tokens(x[:rows], count)
        assert logits.dtype == result.logits.dtype == torch.float32
        torch.testing.assert_close(logits, wanted[:rows], **close)
        plain = top_tokens_of(logits, count)
        torch.testing.assert_close(result.logits, plain.logits, **close)
        torch.testing.assert_close(result.log_normalizer, logits.logsumexp(-1), **close)
        torch.testing.assert_close(logits.gather(1, result.tokens), result.logits, **close)


@pytest.mark.parametrize("name", ["gpt2", "bloom", "gpt_neox", "table"])
def test_top_tokens_of_a_session_are_those_of_its_logits(name: str) -> None:
    prefix = prefixes(2)
    lm = TableLM() if name == "table" else from_transformers(made(name))
    first, second = (
        lm.start(prefix[..., : lm.width], SessionOptions(rows_per_image=2)) for _ in range(2)
    )
    assert isinstance(first, RankingSession) == (name in ("gpt2", "gpt_neox"))
    first.admit()
    second.admit()
    for parents in ([0, 0, 1], [2, 0], []):
        wanted = top_tokens_of(second.logits, 3)
        result = top_tokens(first, 3)
        torch.testing.assert_close(result.logits, wanted.logits)
        torch.testing.assert_close(result.log_normalizer, wanted.log_normalizer)
        assert torch.equal(result.tokens, wanted.tokens)
        tokens = torch.arange(len(parents))
        advance_lazily(first, tokens, torch.tensor(parents, dtype=torch.long))
        second.advance(tokens, torch.tensor(parents, dtype=torch.long))
        assert torch.allclose(first.logits, second.logits)
    assert len(top_tokens(first, 3).tokens) == 0
