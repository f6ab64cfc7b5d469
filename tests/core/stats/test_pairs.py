"""All pairs of a table at once: equal to single comparisons, with valid seed variances."""

from __future__ import annotations

import numpy as np
import pytest
from paired_tests import paired_bootstrap
from scipy.stats import binom, norm, t

from prefixcap.errors import PrefixcapError
from prefixcap.evaluation.stats import (
    CellTable,
    Mean,
    Replicates,
    SeedVariance,
    bootstrap_interval,
    holm,
    pool_seeds,
    replicate,
)
from prefixcap.evaluation.stats.seeds import pooled_paired_variance, pooled_variance, t_draws
from prefixcap.evaluation.stats.tails import ENOUGH, p_values

RUNS = 200


def cell(values: np.ndarray, resamples: int = 200) -> Replicates:
    """Replicates of means (seeds,I) of one score."""
    columns = [Mean({"x": list(map(float, each))}, range(values.shape[1])) for each in values]
    return replicate(columns, resamples=resamples)


def table(*cells: Replicates, fixed: int = 0) -> CellTable:
    return CellTable(replicates=cells, fixed=[False] * (len(cells) - fixed) + [True] * fixed)


@pytest.mark.parametrize("seeds", [1, 3])
def test_two_cells_are_compared_as_by_paired_bootstrap(seeds: int) -> None:
    rng = np.random.default_rng(0)
    one, two = (cell(rng.normal(shift, 1, (seeds, 60))) for shift in (0.0, 0.2))
    expected = paired_bootstrap(one, two, level=0.9)[0]
    result = table(one, two).pairs(level=0.9)
    assert result.value[0, 0] == pytest.approx(expected.value)
    assert result.p[0, 0] == pytest.approx(expected.p)
    assert (result.low[0, 0], result.high[0, 0]) == pytest.approx((expected.low, expected.high))


def test_without_seeds_every_pair_is_its_own() -> None:
    rng = np.random.default_rng(1)
    cells = [cell(rng.normal(0.1 * i, 1, (1, 50))) for i in range(5)]
    result = table(*cells, fixed=1).pairs()
    assert len(result.p) == 10
    for k, (i, j) in enumerate(zip(result.first, result.second, strict=True)):
        expected = paired_bootstrap(cells[i], cells[j])[0]
        row = (result.value[k, 0], result.low[k, 0], result.high[k, 0], result.p[k, 0])
        assert row == pytest.approx((expected.value, expected.low, expected.high, expected.p))


def test_pooled_variances_are_those_of_the_textbook() -> None:
    rng = np.random.default_rng(2)
    cells = list(rng.normal(size=(4, 3, 2)))
    variance, dof = pooled_variance(cells)
    assert dof == 8
    assert variance == pytest.approx(np.mean([each.var(axis=0, ddof=1) for each in cells], axis=0))
    variance, dof = pooled_paired_variance(cells)
    assert dof == 6
    pairs = [(a - b).var(axis=0, ddof=1) for n, a in enumerate(cells) for b in cells[:n]]
    assert variance == pytest.approx(np.mean(pairs, axis=0))


def test_a_cell_of_unstable_seeds_keeps_its_own_variance() -> None:
    calm = np.zeros((3, 40)) + np.array([[0.0], [0.01], [0.02]])
    wild = np.zeros((3, 40)) + np.array([[-2.0], [0.0], [2.0]])
    cells = table(cell(calm), cell(calm + 1), cell(wild))
    spreads = [cells.seed_variance(number) for number in range(3)]
    assert all(each is not None and each.dof == 6 for each in spreads)
    calm_error, _, wild_error = (each.standard_error[0] for each in spreads if each is not None)
    assert wild_error == pytest.approx(2 / np.sqrt(3))
    assert calm_error == pytest.approx(wild_error / np.sqrt(3), rel=1e-3)


def test_a_baseline_has_no_seeds() -> None:
    rng = np.random.default_rng(3)
    images = rng.normal(size=40)
    seeds = np.array([[-1.0], [0.0], [1.0]])
    baseline = cell(images[None] + 0.5)
    cells = table(cell(images + seeds), cell(images + 2 + seeds), baseline, fixed=1)
    assert cells.seed_variance(2) is None
    result = cells.pairs()
    # the same seeds move both models alike, so their difference is certain and the baseline's not
    assert result.p[0, 0] < 1e-6
    assert result.p[1, 0] > 0.05


def test_pooled_seeds_equal_those_computed_together() -> None:
    values = np.random.default_rng(4).normal(size=(3, 30))
    together = cell(values)
    joined = pool_seeds([cell(each[None]) for each in values])
    assert joined.observed == pytest.approx(together.observed)
    assert joined.drawn == pytest.approx(together.drawn)
    with pytest.raises(PrefixcapError, match="only the same resamples"):
        pool_seeds([cell(values[:1]), cell(values[:1], resamples=9)])
    with pytest.raises(PrefixcapError, match="needs at least one seed"):
        pool_seeds([])
    with pytest.raises(PrefixcapError, match="no score 'y'; known: x"):
        together.of(["y"])


def test_rare_p_values_are_those_of_the_tail() -> None:
    rng = np.random.default_rng(5)
    value = np.array([1.0, 2.0, 4.0, 6.0])
    p = p_values(rng.normal(size=(4, 100_000)), value, np.ones(4), 10**6, None)
    assert p == pytest.approx(2 * norm.sf(value), rel=0.05)
    # seeds of two degrees of freedom and images: the sum's tail, by many draws
    spread = SeedVariance(standard_error=np.full(4, 0.5), dof=2)
    sums = rng.normal(size=10**6) + 0.5 * rng.standard_t(2, size=10**6)
    p = p_values(np.zeros((4, 1000)), value, np.ones(4), 10**6, spread)
    expected = [(np.abs(sums) >= each).mean() for each in value]
    least = ENOUGH / 1001
    assert p[2:] == pytest.approx(np.minimum(expected, least)[2:], rel=0.05)
    assert p[0] == pytest.approx(least)
    tiny = SeedVariance(standard_error=np.full(4, 0.05), dof=1)
    sums = rng.normal(size=10**6) + 0.05 * rng.standard_t(1, size=10**6)
    p = p_values(np.zeros((4, 1000)), value, np.ones(4), 10**6, tiny)
    assert p[2:] == pytest.approx([(np.abs(sums) >= each).mean() for each in value[2:]], rel=0.2)


def test_one_image_proves_nothing() -> None:
    value, drawn = np.array([0.5, 0.0]), np.zeros((2, 1000))
    assert p_values(drawn, value, np.zeros(2), 1, None).tolist() == [1, 1]


def test_no_difference_and_no_variance_is_not_significant() -> None:
    same = cell(np.ones((1, 20)))
    result = table(same, same).pairs()
    assert result.p[0, 0] == 1
    assert result.low[0, 0] == result.high[0, 0] == 0


def test_draws_for_seeds_have_no_sampling_noise() -> None:
    draws = t_draws(2, 1000, 0)
    assert np.quantile(draws, 0.975) == pytest.approx(t.ppf(0.975, 2), rel=0.02)
    assert list(draws) != sorted(draws)


@pytest.mark.parametrize(("unequal", "bound"), [(0.0, 0.05), (0.5, 0.08)])
def test_a_table_of_equal_cells_has_the_nominal_false_positive_rate(
    unequal: float, bound: float
) -> None:
    """Six cells of three seeds that differ in nothing: is any of 15 pairs significant?

    Where the seeds of some cells vary more than others' (standard deviations log-normal, 0.5), the
    pooled variance is only nearly right: 8% are allowed for.
    """
    rng = np.random.default_rng(6)
    alarms = 0
    for _ in range(RUNS):
        images = rng.normal(size=40)
        own = [0.3 * np.exp(unequal * rng.normal()) for _ in range(6)]
        cells = [
            cell(images + rng.normal(0, sd, (3, 1)) + rng.normal(size=(3, 40)), 100) for sd in own
        ]
        result = table(*cells).pairs()
        alarms += min(holm(list(result.p[:, 0]))) <= 0.05
    assert alarms <= binom.ppf(1 - 1e-4, RUNS, bound)


@pytest.mark.parametrize("seeds", [2, 3])
def test_intervals_over_images_and_seeds_cover(seeds: int) -> None:
    """Four cells, seeds with an effect of their own and one on each image; 90% intervals."""
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(RUNS):
        images = rng.normal(size=50)
        cells = [
            cell(images + rng.normal(0, 0.2, (seeds, 1)) + rng.normal(0, 0.5, (seeds, 50)), 100)
            for _ in range(4)
        ]
        result = table(*cells)
        variance = result.seed_variance(0)
        interval = bootstrap_interval(cells[0], level=0.9, variance=variance)["x"]
        covered += interval.low <= 0 <= interval.high
    assert binom.ppf(1e-4, RUNS, 0.88) <= covered <= binom.ppf(1 - 1e-4, RUNS, 0.96)


def test_intervals_between_seeds_follow_their_formulas() -> None:
    rng = np.random.default_rng(3)
    # scores (seeds,K) that are the same for every image, so that only seeds vary
    scores = [rng.normal(0, [1.0, 3.0], (n, 2)) for n in (3, 3, 3, 2, 1)] + [np.zeros((1, 2))]
    scores[3] *= 20  # its own variance is larger than the pooled one
    cells = [constant(each) for each in scores]
    result = table(*cells, fixed=1).pairs(level=0.9)
    varying = scores[:5]
    spread = [each.var(axis=0, ddof=1) * (len(each) - 1) for each in varying if len(each) > 1]
    dof = sum(len(each) - 1 for each in varying)
    pooled = sum(spread) / dof
    paired = np.mean(
        [(scores[i] - scores[j]).var(axis=0, ddof=1) for i, j in ((0, 1), (0, 2), (1, 2))], axis=0
    )
    for k, (i, j) in enumerate(zip(result.first, result.second, strict=True)):
        if i < 3 and j < 3:
            own, degrees = (scores[i] - scores[j]).var(axis=0, ddof=1), 4
            error = np.sqrt(np.maximum(own, paired) / 3)
        else:
            parts = []
            for each in (scores[i], scores[j])[: 1 if j == 5 else 2]:
                own = each.var(axis=0, ddof=1) if len(each) > 1 else pooled
                parts.append(np.maximum(own, pooled) / len(each))
            error, degrees = np.sqrt(sum(parts)), dof
        bound = error * np.quantile(t_draws(degrees, 200, 0), 0.95)
        assert result.high[k] - result.value[k] == pytest.approx(bound)
        assert result.value[k] - result.low[k] == pytest.approx(bound)


def constant(scores: np.ndarray) -> Replicates:
    """Replicates of two scores (seeds,2) that every one of 20 images has."""
    columns = [Mean({"x": [x] * 20, "y": [y] * 20}, range(20)) for x, y in scores.tolist()]
    return replicate(columns, resamples=200)
