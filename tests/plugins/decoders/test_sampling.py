"""Samplers draw from exactly the distribution that their settings leave."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from decoder_checks import fits, texts, tokens_of
from decoder_models import prefixes
from prefixcap_decoders import Sample, TopP
from prefixcap_decoders.draw import draw, draw_from_nucleus
from prefixcap_decoders.sampler import drawing
from prefixcap_decoders.truncation import truncate, truncations
from scipy.stats import chi2

import prefixcap
from prefixcap import PrefixcapError
from prefixcap.engine.causal import CausalLM
from prefixcap.testing.table import TableLM

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
def test_draws_come_from_what_transformers_warpers_leave(
    settings: dict[str, float], size: int
) -> None:
    logits = torch.randn(1, size, generator=torch.Generator().manual_seed(size)) * 1.5
    left = truncate(truncations(**settings), logits).double().softmax(-1)[0]
    numbers = torch.from_numpy(np.random.default_rng(3).random(DRAWS))
    drawn = drawing(**settings)(logits.expand(DRAWS, -1), numbers).tolist()
    assert fits(drawn, dict(enumerate(left.tolist())))


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
    found = prefixcap.decode(lm, prefix, spec, max_new_tokens=limit, n=n, max_rows=n)[0]
    settings = {"top_p": 0.8} if "top-p" in spec else {"typical_p": 0.7, "temperature": 0.8}
    expected = {}
    for text, _ in texts(lm, prefix[0], limit):
        probability = 1.0
        for at, token in enumerate(text):
            logits = lm.distribution(prefix[0], text[:at])[None]
            probability *= float(truncate(truncations(**settings), logits).softmax(-1)[0, token])
        expected[text] = probability
    assert fits([tuple(tokens_of(h)) for h in found], expected)
    assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)


@pytest.mark.parametrize(
    "spec", ["sample:n=3", "top-p:n=3", "sample:top_p=0.7,n=3,no_repeat_ngram_size=1"]
)
def test_a_seed_gives_the_same_captions_in_any_batch(lm: CausalLM, spec: str) -> None:
    prefix, ids = prefixes(7), [f"image {i}" for i in range(7)]
    settings = {"max_new_tokens": 8, "stop_ids": [5], "seed": 4}

    def made(order: list[int], max_rows: int) -> dict[str, list[tuple[int, ...]]]:
        names = [ids[i] for i in order]
        found = prefixcap.decode(
            lm, prefix[order], spec, image_ids=names, max_rows=max_rows, **settings
        )
        return {name: [h.ids for h in hs] for name, hs in zip(names, found, strict=True)}

    usual = made(list(range(7)), 320)
    assert made([6, 2, 4, 0, 1, 5, 3], 7) == usual
    assert {k: v for i in range(7) for k, v in made([i], 1).items()} == usual
    assert len({tuple(v) for v in usual.values()}) > 1


def test_another_seed_and_another_image_give_others() -> None:
    lm, prefix = TableLM(vocab_size=6), prefixes(1, width=4).expand(2, -1, -1)
    first, second = (
        prefixcap.decode(lm, prefix, "sample:n=4", max_new_tokens=12, seed=seed) for seed in (0, 1)
    )
    assert first[0] != first[1]
    assert first != second


def test_settings_of_history_hold_for_samples() -> None:
    lm = TableLM(vocab_size=6)
    found = prefixcap.decode(
        lm, prefixes(4, width=4), Sample(no_repeat_ngram_size=1, min_new_tokens=4, n=5),
        max_new_tokens=5, max_rows=7,
    )  # fmt: skip
    for hypotheses in found:
        for h in hypotheses:
            assert len(h.ids) >= 4
            assert len(set(h.ids)) == len(h.ids)


def test_values_out_of_range_are_said() -> None:
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
