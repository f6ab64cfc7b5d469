"""Beam search against transformers' own."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
import torch
from decoder_checks import rescore, texts, tokens_of
from decoder_models import prefixes
from hypothesis import example, given, settings
from hypothesis import strategies as st
from prefixcap_decoders.beam.config import Beam
from prefixcap_decoders.beam.ranking import divisor

import prefixcap
from prefixcap import Hypothesis
from prefixcap.engine.causal_lm import CausalLM
from prefixcap.testing.table_lm import TableLM

STOPS = [5, 11]
STOP_SETS = ([], [5], STOPS)


def oracle(
    lm: CausalLM,
    prefix: torch.Tensor,
    n: int,
    max_new_tokens: int,
    stops: list[int],
    **options: Any,
) -> list[list[tuple[tuple[int, ...], float]]]:
    if options.get("num_beams") == 1:
        options.pop("early_stopping", None)
        options.pop("length_penalty", None)
    out = lm.model.generate(
        inputs_embeds=prefix,
        attention_mask=torch.ones(prefix.shape[:2], dtype=torch.long),
        do_sample=False,
        num_return_sequences=n,
        max_new_tokens=max_new_tokens,
        eos_token_id=stops or None,
        pad_token_id=0,
        return_dict_in_generate=True,
        output_scores=True,
        **options,
    )
    rows = []
    scores = out.sequences_scores if options["num_beams"] > 1 else None
    for i, ids in enumerate(out.sequences.tolist()):
        cut = next((k for k, token in enumerate(ids) if token in stops), len(ids))
        rows.append((tuple(ids[:cut]), float("nan") if scores is None else float(scores[i])))
    return [rows[i : i + n] for i in range(0, len(rows), n)]


def cases() -> Iterator[dict[str, Any]]:
    for num_beams in range(1, 9):
        for penalty in (1.0, 0.0 if num_beams % 2 else -0.7):
            yield {"num_beams": num_beams, "length_penalty": penalty}
    for num_beams, penalty, early in product((2, 4, 7), (0.6, -0.5), (True, False, "never")):
        yield {"num_beams": num_beams, "length_penalty": penalty, "early_stopping": early}
    for num_beams in (1, 3):
        yield {"num_beams": num_beams, "min_new_tokens": 4}
        yield {"num_beams": num_beams, "no_repeat_ngram_size": 2}
    # a single beam is greedy search in transformers, which penalizes logits, not log-probabilities
    yield {"num_beams": 3, "repetition_penalty": 1.7}
    yield {"num_beams": 3, "no_repeat_ngram_size": 2, "repetition_penalty": 0.8}


@pytest.mark.parametrize(
    "options", list(cases()), ids=lambda o: ",".join(f"{k}={v}" for k, v in o.items())
)
def test_same_tokens_and_scores_as_transformers(lm: CausalLM, options: dict[str, Any]) -> None:
    prefix = prefixes(6)
    n = min(options["num_beams"], 3)
    expected = oracle(lm, prefix, n, 9, STOPS, **options)
    config = Beam(**options, n=n)
    batch = prefixcap.decode(lm, prefix, config, max_new_tokens=9, stop_ids=STOPS)
    alone = [
        prefixcap.decode(lm, row[None], config, max_new_tokens=9, stop_ids=STOPS)[0]
        for row in prefix
    ]
    for result in (batch, alone):
        check(result, expected, options["num_beams"] > 1)


SHAPES = [
    ([], 9, 1),
    ([], 2, 12),
    ([], 1, 3),
    ([5], 9, 3),
    ([5], 2, 1),
    ([5], 1, 12),
    (STOPS, 9, 12),
    (STOPS, 2, 3),
    (STOPS, 1, 1),
]


@pytest.mark.parametrize("early", [True, False, "never"])
@pytest.mark.parametrize(
    ("stops", "limit", "length"), SHAPES, ids=lambda v: f"{len(v)} stops" if v in STOP_SETS else v
)
def test_stops_limits_and_prefixes_of_any_number(
    lm: CausalLM, stops: list[int], limit: int, length: int, early: bool | str
) -> None:
    prefix = prefixes(4, length)
    options = {"num_beams": 5, "length_penalty": 0.8, "early_stopping": early}
    expected = oracle(lm, prefix, 3, limit, stops, **options)
    result = prefixcap.decode(
        lm, prefix, Beam(**options, n=3), max_new_tokens=limit, stop_ids=stops
    )
    check(result, expected, True)


@pytest.mark.parametrize(
    ("stops", "limit", "length"), SHAPES, ids=lambda v: f"{len(v)} stops" if v in STOP_SETS else v
)
def test_greedy_has_the_log_probability_of_transformers(
    lm: CausalLM, stops: list[int], limit: int, length: int
) -> None:
    prefix = prefixes(4, length)
    out = lm.model.generate(
        inputs_embeds=prefix, attention_mask=torch.ones(prefix.shape[:2], dtype=torch.long),
        do_sample=False, max_new_tokens=limit, eos_token_id=stops or None, pad_token_id=0,
        return_dict_in_generate=True, output_scores=True,
    )  # fmt: skip
    gained = lm.model.compute_transition_scores(out.sequences, out.scores, normalize_logits=True)
    result = prefixcap.decode(lm, prefix, "greedy", max_new_tokens=limit, stop_ids=stops)
    for ids, values, (h,) in zip(out.sequences.tolist(), gained.tolist(), result, strict=True):
        assert tokens_of(h) == ids[: len(tokens_of(h))]
        assert h.finish_reason == ("stop" if h.stop_id is not None else "length")
        assert h.logprob == h.score == pytest.approx(sum(values[: len(tokens_of(h))]), abs=1e-4)
        assert len(tokens_of(h)) == limit or tokens_of(h)[-1] in stops


def check(
    result: list[list[Hypothesis]],
    expected: list[list[tuple[tuple[int, ...], float]]],
    scored: bool,
) -> None:
    assert [[h.ids for h in hs] for hs in result] == [[ids for ids, _ in row] for row in expected]
    if scored:
        got = [h.score for hs in result for h in hs]
        want = [score for row in expected for _, score in row]
        assert got == pytest.approx(want, abs=1e-4)


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 9_999),
    vocab=st.integers(2, 4),
    limit=st.integers(1, 4),
    norm=st.sampled_from(["none", "power", "gnmt"]),
    penalty=st.floats(0.0, 1.5),
)
def test_a_beam_as_wide_as_the_space_finds_the_optimum(
    seed: int, vocab: int, limit: int, norm: str, penalty: float
) -> None:
    lm, prefix = TableLM(vocab_size=vocab, seed=seed), prefixes(2, width=4)
    config = Beam(
        num_beams=vocab**limit, length_norm=norm, length_penalty=penalty, early_stopping="never"
    )
    result = prefixcap.decode(lm, prefix, config, max_new_tokens=limit, n=vocab**limit)
    for row, hypotheses in zip(prefix, result, strict=True):
        space = dict(texts(lm, row, limit))
        scores = {t: p / divisor(len(t), penalty, norm) for t, p in space.items()}
        assert hypotheses[0].score == pytest.approx(max(scores.values()), abs=1e-4)
        assert {tuple(tokens_of(h)) for h in hypotheses} == set(space)
        for h in hypotheses:
            assert h.score == pytest.approx(scores[tuple(tokens_of(h))], abs=1e-4)
            assert h.logprob == pytest.approx(space[tuple(tokens_of(h))], abs=1e-4)


def beam_by_loops(
    lm: TableLM, prefix: torch.Tensor, beams: int, limit: int, config: Beam
) -> list[tuple[float, tuple[int, ...]]]:
    """transformers' search for one image with any length norm, which `generate` does not offer."""

    def over(length: int) -> float:
        base = {"power": length, "gnmt": (5 + length) / 6, "none": 1}[config.length_norm]
        return float(base**config.length_penalty)

    live: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    ended: list[tuple[float, tuple[int, ...]]] = []
    for length in range(1, limit + 1):
        result = [
            (score + value, (*text, token))
            for score, text in live
            for token, value in enumerate(lm.distribution(prefix, text).log_softmax(-1).tolist())
        ]
        result = sorted(result, reverse=True)[: 2 * beams]
        last = [text[-1] == lm.eos_id or length == limit for _, text in result]
        new = [
            (s / over(length), t) for (s, t), end in zip(result[:beams], last, strict=False) if end
        ]
        ended = sorted(ended + new, reverse=True)[:beams]
        live = [beam for beam, end in zip(result, last, strict=True) if not end][:beams]
        reach = length
        if config.early_stopping == "never" and config.length_penalty > 0:
            reach = limit
        enough = len(ended) == beams
        hopeless = config.early_stopping == "true" or (
            bool(live) and enough and live[0][0] / over(reach) <= ended[-1][0]
        )
        if not live or (enough and hopeless):
            break
    return ended


@pytest.mark.parametrize("early", ["true", "false", "never"])
@pytest.mark.parametrize("norm", ["power", "gnmt", "none"])
@pytest.mark.parametrize("penalty", [0.6, 3.0])
def test_any_norm_works_with_any_early_stopping(norm: str, early: str, penalty: float) -> None:
    lm, prefix = TableLM(vocab_size=6, seed=7), prefixes(12, width=4)
    config = Beam(num_beams=3, n=3, length_norm=norm, length_penalty=penalty, early_stopping=early)
    result = prefixcap.decode(lm, prefix, config, max_new_tokens=7)
    for row, hypotheses in zip(prefix, result, strict=True):
        expected = beam_by_loops(lm, row, 3, 7, config)
        assert [tuple(tokens_of(h)) for h in hypotheses] == [text for _, text in expected]
        assert [h.score for h in hypotheses] == pytest.approx([s for s, _ in expected], abs=1e-4)


@example(seed=800, beams=1, images=[0], max_rows=1, penalty=0.7, early="never")
@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 9_999),
    beams=st.integers(1, 6),
    images=st.permutations(range(5)).flatmap(lambda p: st.integers(1, 5).map(lambda n: p[:n])),
    max_rows=st.integers(1, 20),
    penalty=st.sampled_from([0.0, 0.7, 1.0, -0.5]),
    early=st.sampled_from(["true", "false", "never"]),
)
def test_batch_order_and_rows_change_nothing(
    seed: int, beams: int, images: list[int], max_rows: int, penalty: float, early: str
) -> None:
    lm, prefix = TableLM(vocab_size=5, seed=seed), prefixes(5, width=4)
    config = Beam(num_beams=beams, n=beams, length_penalty=penalty, early_stopping=early)
    usual = prefixcap.decode(lm, prefix, config, max_new_tokens=5)
    result = prefixcap.decode(lm, prefix[images], config, max_new_tokens=5, max_rows=max_rows)
    assert result == [usual[image] for image in images]
    for row, hypotheses in zip(prefix, usual, strict=True):
        scores = [h.score for h in hypotheses]
        assert scores == sorted(scores, reverse=True)
        assert len({tuple(tokens_of(h)) for h in hypotheses}) == len(hypotheses)
        for h in hypotheses:
            assert h.logprob == pytest.approx(rescore(lm, row, h), abs=1e-4)
    if beams == 1:
        greedy = prefixcap.decode(lm, prefix, "greedy", max_new_tokens=5)
        assert [hs[0].ids for hs in usual] == [hs[0].ids for hs in greedy]


def test_a_penalty_changes_the_score_and_not_the_logprob(lm: CausalLM) -> None:
    prefix = prefixes(3)
    config = Beam(num_beams=3, n=3, repetition_penalty=1.5, length_norm="none")
    for row, hypotheses in zip(
        prefix, prefixcap.decode(lm, prefix, config, max_new_tokens=8, stop_ids=STOPS), strict=True
    ):
        for h in hypotheses:
            assert h.logprob == pytest.approx(rescore(lm, row, h), abs=1e-3)
            assert h.score <= h.logprob + 1e-4
