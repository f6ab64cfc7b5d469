"""Stochastic beam search draws without replacement, exactly."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from decoder_checks import fits, rescore, texts, tokens_of
from decoder_models import prefixes
from prefixcap_decoders.stochastic_beam.config import StochasticBeam

import prefixcap
from prefixcap.engine.causal_lm import CausalLM
from prefixcap.testing.table_lm import TableLM


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_ordered_sets_come_with_their_exact_probability(temperature: float) -> None:
    lm, draws, limit, n = TableLM(vocab_size=3, seed=5), 6_000, 3, 2
    prefix = prefixes(1, width=4)
    config = StochasticBeam(n=n, temperature=temperature)
    result = prefixcap.decode(
        lm, prefix.expand(draws, -1, -1), config, max_new_tokens=limit, max_rows=4_000
    )
    share = {}
    for text, _ in texts(lm, prefix[0], limit):
        share[text] = 1.0
        for at, token in enumerate(text):
            logits = lm.distribution(prefix[0], text[:at]).double() / temperature
            share[text] *= float(logits.softmax(-1)[token])
    expected = {(a, b): share[a] * share[b] / (1 - share[a]) for a, b in permutations(share, 2)}
    drawn = [tuple(tuple(tokens_of(h)) for h in hypotheses) for hypotheses in result]
    assert fits(drawn, expected)


def test_captions_differ_and_are_the_models_own(lm: CausalLM) -> None:
    prefix, names = prefixes(5), list("abcde")
    config = StochasticBeam(n=4, repetition_penalty=1.2)
    settings = {"max_new_tokens": 7, "stop_ids": [5, 11]}
    result = prefixcap.decode(lm, prefix, config, image_ids=names, **settings)
    for row, hypotheses in zip(prefix, result, strict=True):
        assert len({tuple(tokens_of(h)) for h in hypotheses}) == 4
        scores = [h.score for h in hypotheses]
        assert scores == sorted(scores, reverse=True)
        for h in hypotheses:
            assert h.logprob == pytest.approx(rescore(lm, row, h), abs=1e-3)
    turned = prefixcap.decode(
        lm, prefix.flip(0), config, image_ids=names[::-1], max_rows=9, **settings
    )
    assert [[h.ids for h in hs] for hs in turned[::-1]] == [[h.ids for h in hs] for hs in result]


def test_a_beam_as_wide_as_the_space_returns_all_captions() -> None:
    lm, prefix = TableLM(vocab_size=3), prefixes(2, width=4)
    for row, hypotheses in zip(
        prefix, prefixcap.decode(lm, prefix, StochasticBeam(n=20), max_new_tokens=3), strict=True
    ):
        space = dict(texts(lm, row, 3))
        assert {tuple(tokens_of(h)) for h in hypotheses} == set(space)
        assert torch.tensor([h.score for h in hypotheses]).isfinite().all()
