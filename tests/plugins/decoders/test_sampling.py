"""Samplers draw from exactly the truncated distribution."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from decoder_checks import drawn_texts, fits, rescore, tokens_of, truncated
from decoder_models import prefixes
from prefixcap_decoders.sampling.config import (
    Epsilon,
    Eta,
    MinP,
    Sample,
    Sampling,
    TopH,
    TopK,
    TopP,
    Typical,
)
from prefixcap_decoders.sampling.decoder import drawing, truncate, truncations
from prefixcap_decoders.sampling.inverse_cdf import draw, draw_from_nucleus
from scipy.stats import chi2

import prefixcap
from prefixcap import DecoderConfig, Hypothesis, PrefixcapError
from prefixcap.decoding.decode import collect
from prefixcap.engine.causal_lm import CausalLM
from prefixcap.interfaces.decoder import DecodingTask
from prefixcap.testing.table_lm import TableLM

DRAWS = 20_000

SETTINGS: list[dict[str, float]] = [
    {},
    {"temperature": 0.6},
    {"top_k": 3},
    {"top_p": 0.8},
    {"top_p": 0.0},
    {"top_p": 0.7, "temperature": 1.8},
    {"top_k": 4, "top_p": 0.8, "temperature": 0.7},
    {"min_p": 0.2},
    {"typical_p": 0.5},
    {"epsilon": 0.1},
    {"eta": 0.2},
    {"top_h": 0.5},
    {"top_h": 0.5, "top_k": 3},
    {"temperature": 0.7, "top_p": 0.9, "min_p": 0.05},
]


def ident(settings: dict[str, float]) -> str:
    return ",".join(f"{key}={value}" for key, value in settings.items()) or "plain"


@pytest.mark.parametrize("settings", SETTINGS, ids=ident)
@pytest.mark.parametrize("size", [7, 300])
def test_draws_come_from_what_the_truncations_leave(settings: dict[str, float], size: int) -> None:
    logits = torch.randn(1, size, generator=torch.Generator().manual_seed(size)) * 1.5
    left = truncated(logits[0].double().tolist(), **settings)
    numbers = torch.from_numpy(np.random.default_rng(3).random(DRAWS))
    drawn = drawing(**settings)(logits.expand(DRAWS, -1), numbers).tolist()
    assert fits(drawn, dict(enumerate(left)))


@pytest.mark.parametrize("settings", SETTINGS, ids=ident)
@pytest.mark.parametrize("tied", [False, True], ids=["", "tied"])
def test_the_warpers_leave_what_the_papers_define(settings: dict[str, float], tied: bool) -> None:
    logits = torch.randn(12, 300, generator=torch.Generator().manual_seed(1)) * 1.5
    if tied:
        logits = logits.bfloat16().float()
    left = truncate(truncations(**settings), logits).double().softmax(-1)
    for row, result in zip(logits.double().tolist(), left.tolist(), strict=True):
        expected = truncated(row, **settings)
        # of equally likely tokens at the cut, torch's sort takes any first
        pair = (sorted(result), sorted(expected)) if tied else (result, expected)
        assert pair[0] == pytest.approx(pair[1], abs=1e-6)


@pytest.mark.parametrize("settings", SETTINGS, ids=ident)
def test_ties_at_the_cut_are_limited(
    settings: dict[str, float],
) -> None:
    logits = (2 * torch.randn(1, 40, generator=torch.Generator().manual_seed(2))).round()
    expected = dict.fromkeys(logits[0].tolist(), 0.0)
    for value, probability in zip(
        logits[0].tolist(), truncated(logits[0].tolist(), **settings), strict=True
    ):
        expected[value] += probability
    numbers = torch.from_numpy(np.random.default_rng(5).random(DRAWS))
    drawn = drawing(**settings)(logits.expand(DRAWS, -1), numbers)
    assert fits(logits[0][drawn].tolist(), expected)


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"top_p": 0.5}, {0, 1}),
        ({"top_p": 0.0}, {0}),
        ({"top_k": 2}, {0, 1, 2, 3}),
        ({"top_k": 2, "top_p": 0.5}, {0, 1, 2, 3}),
        ({"top_k": 5}, {0, 1, 2, 3}),
    ],
    ids=str,
)
def test_of_four_equal_tokens(settings: dict[str, float], kept: set[int]) -> None:
    logits = torch.tensor([[0.0] * 4 + [float("-inf")] * 3])
    numbers = torch.linspace(0, 1, 401, dtype=torch.float64)[:-1]
    drawn = set(drawing(**settings)(logits.expand(400, -1), numbers).tolist())
    count = 2 if settings.get("top_p") else len(kept)
    assert drawn <= kept
    assert len(drawn) == count


PLAIN: list[tuple[type[Sampling], dict[str, float], dict[str, float]]] = [
    (TopH, {"top_h": 0.7}, {"top_h": 0.4}),
    (TopK, {"top_k": 2}, {"top_k": 10}),
    (TopP, {"top_p": 0.6, "top_k": 3}, {"top_p": 0.9}),
    (MinP, {"min_p": 0.3}, {"min_p": 0.1}),
    (Typical, {"typical_p": 0.4}, {"typical_p": 0.95}),
    (Epsilon, {"epsilon": 0.1}, {"epsilon": 6e-4}),
    (Eta, {"eta": 0.2}, {"eta": 2e-3}),
]


@pytest.mark.parametrize(
    ("plain", "settings", "usual"), PLAIN, ids=lambda v: getattr(v, "name", "")
)
def test_a_plain_name_is_sample_with_one_setting(
    plain: type[Sampling], settings: dict[str, Any], usual: dict[str, Any]
) -> None:
    task = DecodingTask(
        lm=TableLM(vocab_size=26, sharpness=0.5), prefix=prefixes(3, width=4),
        image_ids=["a", "b", "c"], max_new_tokens=8, stop_ids=frozenset({3}), stream="the same",
    )  # fmt: skip

    def decoded(config: DecoderConfig) -> list[list[Hypothesis]]:
        with torch.inference_mode():
            return collect(config.build().decode(task), 3)

    own = decoded(plain(temperature=1.3, n=20, **settings))
    assert own == decoded(Sample(temperature=1.3, n=20, **settings))
    assert decoded(plain(n=20)) == decoded(Sample(n=20, **usual))
    assert own != decoded(Sample(temperature=1.3, n=20))


def test_the_test_of_a_distribution_can_fail() -> None:
    drawn = np.random.default_rng(0).choice(3, 2_000, p=[0.5, 0.3, 0.2]).tolist()
    assert fits(drawn, {0: 0.5, 1: 0.3, 2: 0.2})
    assert not fits(drawn, {0: 0.4, 1: 0.4, 2: 0.2})
    assert not fits(drawn, {0: 0.5, 1: 0.5, 2: 0.0})
    assert chi2.ppf(0.95, 1) == pytest.approx(3.841, abs=1e-3)


def test_extreme_numbers_stay_inside_the_support() -> None:
    logits = torch.tensor([[0.0, float("-inf"), -30.0] + [float("-inf")] * 400])
    last = float(np.nextafter(1.0, 0.0))
    for number in (0.0, 1e-300, 0.5, last):
        uniform = torch.tensor([number], dtype=torch.float64)
        assert int(draw(logits, uniform)) in (0, 2)
        assert int(draw_from_nucleus(logits, uniform, 0.9)) == 0


@pytest.mark.parametrize("spec", ["top-p:top_p=0.8", "sample:typical_p=0.7,temperature=0.8"])
def test_captions_are_drawn_with_their_exact_probability(spec: str) -> None:
    lm, limit, n = TableLM(vocab_size=4, seed=2), 3, 4_000
    prefix = prefixes(1, width=4)
    result = prefixcap.decode(lm, prefix, spec, max_new_tokens=limit, n=n, max_rows=n)[0]
    settings = {"top_p": 0.8} if "top-p" in spec else {"typical_p": 0.7, "temperature": 0.8}
    expected = drawn_texts(lm, prefix[0], limit, **settings)
    assert fits([tuple(tokens_of(h)) for h in result], expected)
    assert [h.score for h in result] == sorted((h.score for h in result), reverse=True)


@pytest.mark.parametrize(
    "spec", ["sample:n=3", "top-p:n=3", "sample:top_p=0.7,n=3,no_repeat_ngram_size=1"]
)
def test_a_seed_gives_the_same_captions_in_any_batch(lm: CausalLM, spec: str) -> None:
    prefix, ids = prefixes(7), [f"image {i}" for i in range(7)]
    settings = {"max_new_tokens": 8, "stop_ids": [5], "seed": 4}

    def decoded(order: list[int], max_rows: int) -> dict[str, list[tuple[int, ...]]]:
        names = [ids[i] for i in order]
        result = prefixcap.decode(
            lm, prefix[order], spec, image_ids=names, max_rows=max_rows, **settings
        )
        return {name: [h.ids for h in hs] for name, hs in zip(names, result, strict=True)}

    usual = decoded(list(range(7)), 320)
    assert decoded([6, 2, 4, 0, 1, 5, 3], 7) == usual
    assert {k: v for i in range(7) for k, v in decoded([i], 1).items()} == usual
    assert len({tuple(v) for v in usual.values()}) > 1


@pytest.mark.parametrize("spec", ["sample:n=3", "top-p:temperature=1.4,n=3", "mirostat:n=3"])
def test_a_sampled_caption_has_the_models_own_log_probability(lm: CausalLM, spec: str) -> None:
    prefix = prefixes(5)
    result = prefixcap.decode(lm, prefix, spec, max_new_tokens=8, stop_ids=[5, 11])
    for row, hypotheses in zip(prefix, result, strict=True):
        for h in hypotheses:
            assert h.logprob == pytest.approx(rescore(lm, row, h), abs=1e-3)
            assert h.score == h.logprob


def test_another_seed_or_image_gives_other_captions() -> None:
    lm, prefix = TableLM(vocab_size=6), prefixes(1, width=4).expand(2, -1, -1)
    first, second = (
        prefixcap.decode(lm, prefix, "sample:n=4", max_new_tokens=12, seed=seed) for seed in (0, 1)
    )
    assert first[0] != first[1]
    assert first != second


def test_settings_of_history_hold_for_samples() -> None:
    lm = TableLM(vocab_size=6)
    result = prefixcap.decode(
        lm, prefixes(4, width=4), Sample(no_repeat_ngram_size=1, min_new_tokens=4, n=5),
        max_new_tokens=5, max_rows=7,
    )  # fmt: skip
    for hypotheses in result:
        for h in hypotheses:
            assert len(h.ids) >= 4
            assert len(set(h.ids)) == len(h.ids)


def test_values_out_of_range_are_errors() -> None:
    with pytest.raises(ValueError, match=r"top_p must be between 0 and 1, not 1\.5"):
        TopP(top_p=1.5)
    with pytest.raises(PrefixcapError, match="temperature must be greater than 0, not 0"):
        prefixcap.decode(TableLM(), prefixes(1, width=4), "sample:temperature=0")


@pytest.mark.parametrize("settings", [{"top_p": 0.9}, {"temperature": 0.7}, {"min_p": 0.01}])
def test_many_rows_are_drawn_as_each_one_alone(settings: dict[str, float]) -> None:
    stream = torch.Generator().manual_seed(0)
    logits = torch.randn(45, 30_000, generator=stream) * 3
    numbers = torch.rand(45, generator=stream, dtype=torch.float64)
    run = drawing(**settings)
    alone = [run(logits[row : row + 1], numbers[row : row + 1]) for row in range(45)]
    assert torch.equal(run(logits, numbers), torch.cat(alone))
