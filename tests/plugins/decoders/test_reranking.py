"""Best of n, minimum Bayes risk and mirostat."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from decoder_checks import rescore, tokens_of
from decoder_models import prefixes
from prefixcap_decoders import MBR, BestOf, Mirostat, Sample
from prefixcap_decoders.utility import UTILITIES

import prefixcap
from prefixcap.decoding import Row
from prefixcap.testing.table import TableLM

LM = TableLM(vocab_size=5, seed=1)


def test_best_of_keeps_the_likeliest_of_its_samples() -> None:
    prefix = prefixes(4, width=4)
    for penalty in (0.0, 1.0):
        config = BestOf(samples=12, length_penalty=penalty, n=2)
        found = prefixcap.decode(LM, prefix, config, max_new_tokens=6)
        everything = prefixcap.decode(LM, prefix, config, max_new_tokens=6, n=12)
        for two, twelve in zip(found, everything, strict=True):
            assert len(twelve) == 12
            assert two[0] == max(twelve, key=lambda h: h.score)
            assert two[0].ids != two[1].ids
            for h in twelve:
                assert h.score == pytest.approx(h.logprob / len(tokens_of(h)) ** penalty)


def test_mbr_is_its_formula() -> None:
    prefix = prefixes(5, width=4)
    found = prefixcap.decode(LM, prefix, MBR(samples=9, utility="rouge"), max_new_tokens=6, n=9)
    for row, hypotheses in zip(prefix, found, strict=True):
        texts = [tuple(h.text.split()) for h in hypotheses]
        for h, text in zip(hypotheses, texts, strict=True):
            table = [UTILITIES["rouge"]([text, other], [1, 1])[0][1] for other in texts]
            assert h.score == pytest.approx(sum(table) / 9)
            assert h.logprob == pytest.approx(rescore(LM, row, h), abs=1e-4)
        assert [h.score for h in hypotheses] == sorted((h.score for h in hypotheses), reverse=True)


def test_utilities_by_hand() -> None:
    a, b, c = (tuple(text.split()) for text in ("a dog runs fast", "a dog runs", "two cats"))
    counts = [1, 1, 1]
    assert UTILITIES["ngram"]([a, b, c], counts)[0][1] == pytest.approx(
        (6 / 7 + 4 / 5 + 2 / 3 + 0) / 4
    )
    precision, recall = 3 / 4, 1.0
    rouge = (1 + 1.44) * precision * recall / (recall + 1.44 * precision)
    assert UTILITIES["rouge"]([a, b, c], counts)[0][1] == pytest.approx(rouge)
    bleu = math.exp(sum(map(math.log, (3 / 4, 3 / 4, 2 / 3, 1 / 2))) / 4)
    assert UTILITIES["bleu"]([a, b, c], counts)[0][1] == pytest.approx(bleu)
    for utility in UTILITIES.values():
        table = np.array(utility([a, b, c, ()], [1, 2, 1, 1]))
        assert np.diag(table) == pytest.approx(1.0)
        assert table[0, 2] == table[2, 0] == table[0, 3] == table[3, 0] == 0.0
        assert ((table >= 0) & (table <= 1 + 1e-9)).all()
        assert table[0, 1] > 0.3


def test_cider_weighs_rare_words_more() -> None:
    texts = [tuple(t.split()) for t in ("a dog", "a cat", "the dog", "a man", "a car")]
    table = UTILITIES["cider"](texts, [1] * 5)
    assert table[0][2] > table[0][1] > 0  # "dog" is rarer than "a"


def test_mirostat_is_its_formula() -> None:
    config = Mirostat(tau=1.2, eta=0.4)
    decoder = config.build()
    stream = torch.Generator().manual_seed(0)
    logits = torch.randn(40, 1, 9, generator=stream) * 2
    numbers = np.random.default_rng(1).random(40)
    row, mu = Row(0, numbers.tolist()), 2 * 1.2
    for step in range(40):
        probability = logits[step, 0].double().softmax(-1)
        surprise = -probability.log2()
        kept = [t for t in range(9) if surprise[t] <= mu] or [int(probability.argmax())]
        mass = np.cumsum([float(probability[t]) for t in kept])
        expected = kept[int((mass <= numbers[step] * mass[-1]).sum())]
        assert int(decoder._draw(logits[step], [row])) == expected  # type: ignore[attr-defined]
        mu -= 0.4 * (float(surprise[expected]) - 1.2)
        assert row.memory == pytest.approx(mu, abs=1e-4)
        row.tokens.append(expected)


def test_mirostat_nears_its_surprise() -> None:
    lm, prefix = TableLM(vocab_size=26, sharpness=1.5), prefixes(6, width=4)

    def bits(spec: Mirostat | Sample) -> float:
        found = prefixcap.decode(lm, prefix, spec, max_new_tokens=60, stop_ids=[], n=3)
        return float(np.mean([-h.logprob / 60 / math.log(2) for hs in found for h in hs]))

    for tau in (2.4, 3.0):
        assert bits(Mirostat(tau=tau, eta=0.3)) == pytest.approx(tau, abs=0.15)
    assert bits(Sample()) > 3.2
