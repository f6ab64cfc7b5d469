"""Coverage of the intervals and false positives of the tests, by simulation.

Every bound below is the exact binomial one that a right procedure breaks once in 10,000 runs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from made_captions import corpus, mean_cider
from paired_tests import both_replicated, paired_bootstrap, paired_permutation
from prefixcap_metrics.resampling.bleu import BleuStatistic
from prefixcap_metrics.resampling.cider import CiderStatistic
from scipy.stats import binom

from prefixcap.errors import PrefixcapError
from prefixcap.evaluation.stats import (
    Additive,
    Mean,
    Statistic,
    bootstrap_interval,
    replicate,
)

RUNS = 200


def mean_of(values: np.ndarray) -> Mean:
    return Mean({"x": [float(v) for v in values]}, range(len(values)))


def plausible(count: int, low: float, high: float) -> bool:
    """Return whether a rate between `low` and `high` is consistent with `count` of RUNS."""
    return bool(binom.ppf(1e-4, RUNS, low) <= count <= binom.ppf(1 - 1e-4, RUNS, high))


def captions(run: int) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    return corpus(80, 1000 + run)


def draw_mean(run: int) -> Statistic:
    return mean_of(np.random.default_rng(run).exponential(size=80))


def draw_bleu(run: int) -> Statistic:
    return BleuStatistic(*captions(run))


def draw_cider(run: int) -> Statistic:
    return CiderStatistic(*captions(run))


@pytest.mark.parametrize("draw", [draw_mean, draw_bleu, draw_cider])
def test_intervals_cover_the_expected_score(draw: Callable[[int], Statistic]) -> None:
    ones = np.ones((1, 80), dtype=np.int64)
    drawn = [draw(run) for run in range(RUNS)]
    expected = np.mean([each.resampled(ones)[0, 0] for each in drawn])
    covered = 0
    for statistic in drawn:
        replicates = replicate(statistic, resamples=200)
        interval = bootstrap_interval(replicates, level=0.9)[replicates.names[0]]
        covered += interval.low <= expected <= interval.high
    assert plausible(covered, 0.86, 0.92)


def test_intervals_cover_other_seeds() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(RUNS):
        images, seeds = rng.normal(size=50), rng.normal(0, 0.3, size=3)
        cell = [mean_of(images + seed + rng.normal(0, 0.1, size=50)) for seed in seeds]
        interval = bootstrap_interval(replicate(cell, resamples=200), level=0.9)["x"]
        covered += interval.low <= 0 <= interval.high
    assert plausible(covered, 0.87, 0.94)


def swap_half(first: dict[str, list[str]], second: dict[str, list[str]], run: int) -> None:
    rng = np.random.default_rng(run)
    for image in first:
        if rng.random() < 0.5:
            first[image], second[image] = second[image], first[image]


def test_the_false_positive_rate_is_nominal() -> None:
    alarms = {"bootstrap": 0, "permutation": 0}
    for run in range(RUNS):
        references, first = corpus(60, run, quality=0.8)
        _, second = corpus(60, run, quality=0.3)
        swap_half(first, second, run)
        pair = [CiderStatistic(references, each) for each in (first, second)]
        alarms["bootstrap"] += paired_bootstrap(*both_replicated(pair))[0].p <= 0.1
        # predictions that are swapped leave the document frequencies of the references alone
        means = (mean_cider(references, each) for each in (first, second))
        alarms["permutation"] += paired_permutation(*means, resamples=199)[0][1] <= 0.1
    assert plausible(alarms["permutation"], 0.1, 0.1)
    assert plausible(alarms["bootstrap"], 0.08, 0.13)


def test_seeds_alone_cause_no_false_positives() -> None:
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(RUNS):
        images = rng.normal(size=50)
        cells = [[mean_of(images + s) for s in rng.normal(0, 0.3, size=3)] for _ in range(2)]
        one, two = (replicate(cell, resamples=200) for cell in cells)
        alarms += paired_bootstrap(one, two)[0].p <= 0.1
    assert plausible(alarms, 0.1, 0.1)


@pytest.mark.parametrize("statistic", [BleuStatistic, CiderStatistic])
def test_true_differences_are_significant(
    statistic: type[BleuStatistic] | type[CiderStatistic],
) -> None:
    references, first = corpus(150, 5, quality=0.8)
    _, second = corpus(150, 5, quality=0.4)
    pair = statistic(references, first), statistic(references, second)
    result = paired_bootstrap(*both_replicated(pair, 300))[-1]
    assert result.p < 0.01
    assert 0 < result.low < result.value
    sums = [
        each if isinstance(each, Additive) else mean_cider(references, captions)
        for each, captions in zip(pair, (first, second), strict=True)
    ]
    value, p = paired_permutation(*sums, resamples=300)[-1]
    assert p < 0.01
    assert value == pytest.approx(result.value)


def test_a_cell_does_not_differ_from_itself() -> None:
    statistic = BleuStatistic(*captions(0))
    drawn = replicate(statistic, resamples=50)
    assert {(d.value, d.p) for d in paired_bootstrap(drawn, drawn)} == {(0, 1)}
    assert {*paired_permutation(statistic, statistic)} == {(0, 1)}


def test_the_permutation_test_is_exact_for_few_images() -> None:
    one, two = mean_of(np.array([3.0, 2.0, 1.0, 4.0])), mean_of(np.zeros(4))
    _, p = paired_permutation(one, two, resamples=20_000)[0]
    assert p == pytest.approx(2 / 16, abs=0.01)  # all four signs alike, either way


def test_replicates_depend_on_the_seed_and_not_on_the_number_of_cells() -> None:
    statistic = draw_cider(1)
    one, two = (replicate(statistic, resamples=150, seed=3).drawn for _ in range(2))
    assert np.array_equal(one, two)
    both = replicate([statistic, statistic], resamples=150, seed=3)
    assert both.drawn == pytest.approx(one)
    assert not np.array_equal(one, replicate(statistic, resamples=150, seed=4).drawn)


def test_incomparable_cells_are_errors() -> None:
    one, two = mean_of(np.ones(4)), mean_of(np.ones(5))
    with pytest.raises(PrefixcapError, match="the same images can be compared: 4 is in one only"):
        replicate([one, two])
    other = Mean({"y": [1.0] * 4}, range(4))
    with pytest.raises(PrefixcapError, match="only the same scores can be compared, not x and y"):
        replicate([one, other])
    with pytest.raises(PrefixcapError, match="needs at least one seed"):
        replicate([])
    with pytest.raises(PrefixcapError, match="one has 1 seeds and the other 2"):
        paired_bootstrap(replicate(one, resamples=9), replicate([one, one], resamples=9))
    with pytest.raises(PrefixcapError, match="not 9 of seed 0 and 9 of seed 1"):
        paired_bootstrap(replicate(one, resamples=9), replicate(one, resamples=9, seed=1))
    with pytest.raises(PrefixcapError, match="at least 1, not 0"):
        replicate(one, resamples=0)
    with pytest.raises(PrefixcapError, match=r"between 0 and 1, not 95"):
        bootstrap_interval(replicate(one, resamples=9), level=95)


@pytest.mark.parametrize(
    ("references", "predictions"), [([], ["a"]), (["a"], []), (["a"], ["a", "b"])]
)
def test_every_image_has_references_and_one_caption(
    references: list[str], predictions: list[str]
) -> None:
    counts = f"{len(references)} references and {len(predictions)} predictions"
    for statistic in (BleuStatistic, CiderStatistic):
        with pytest.raises(PrefixcapError, match=counts):
            statistic({1: references}, {1: predictions})


def test_an_interval_ends_where_its_scores_range_ends() -> None:
    values = [0.0] * 30 + [1.0, 0.5]
    cell = replicate(Mean({"x": values, "y": values}, range(32)), resamples=200)
    free = bootstrap_interval(cell)
    assert free["x"].low is not None
    assert free["x"].low < 0
    ranged = bootstrap_interval(cell, ranges={"x": (0.0, 0.1)})
    assert ranged["x"].bounds == (0.0, 0.1)
    assert ranged["y"] == free["y"]
    assert bootstrap_interval(cell, ranges={"x": (0.5, None)})["x"].low == ranged["x"].value
