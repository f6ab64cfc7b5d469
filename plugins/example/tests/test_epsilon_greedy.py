from __future__ import annotations

import pytest
import torch
from prefixcap_example import EpsilonGreedy
from prefixcap_example.decoder import EpsilonGreedyDecoder

import prefixcap
from prefixcap.testing import Case, Check, TableLM, parametrize

CASES = [
    Case(config=EpsilonGreedy(), registry=prefixcap.Registry()),
    Case(config=EpsilonGreedy(epsilon=0.6, k=2, n=3)),
]


@parametrize(CASES)
def test_conformance(check: Check) -> None:
    check()


def test_without_epsilon_it_is_greedy() -> None:
    lm, prefix = TableLM(), torch.randn(4, 3, 4, generator=torch.Generator().manual_seed(0))
    ours = prefixcap.decode(lm, prefix, EpsilonGreedy(epsilon=0.0))
    greedy = prefixcap.decode(lm, prefix, "greedy")
    assert [h[0].ids for h in ours] == [h[0].ids for h in greedy]


def test_the_k_most_likely_tokens_are_drawn_at_the_right_rate() -> None:
    decoder = EpsilonGreedyDecoder(EpsilonGreedy(epsilon=0.3, k=3))
    uniforms = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    logits = torch.tensor([[0.0, 3.0, 1.0, 2.0]]).expand(1000, 4)
    taken = decoder.choose(logits, uniforms, [[]] * 1000)
    assert taken.bincount(minlength=4).tolist() == [0, 800, 100, 100]


def test_a_value_out_of_range_is_rejected() -> None:
    with pytest.raises(ValueError, match="epsilon must be between 0 and 1, not 2"):
        EpsilonGreedy(epsilon=2)
