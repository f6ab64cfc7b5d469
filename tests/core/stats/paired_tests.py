"""Paired tests of two cells alone, the oracle for comparisons of a table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from prefixcap.errors import PrefixcapError
from prefixcap.evaluation.stats import Additive, Array, Difference, Replicates, Statistic, replicate
from prefixcap.evaluation.stats.replicates import (
    bootstrap_deviations,
    check_comparable,
    check_resamples,
    percentile_interval,
)
from prefixcap.evaluation.stats.seeds import own_seed_variance
from prefixcap.evaluation.stats.tails import exceedance_rate, p_values

BLOCK = 128


def paired_bootstrap(
    first: Replicates, second: Replicates, *, level: float = 0.95
) -> list[Difference]:
    """Compare two cells by bootstrap over images, on the same resamples (Koehn 2004).

    With several seeds, seed j of the first is paired with seed j of the second, and the variance
    of their differences is added; for independent seeds any pairing will do.
    """
    check_comparable(first, second)
    check_resamples(first, second)
    if len(first.observed) != len(second.observed):
        raise PrefixcapError(
            f"cells are compared seed by seed, but one has {len(first.observed)} seeds "
            f"and the other {len(second.observed)}"
        )
    each = first.observed - second.observed
    value = each.mean(axis=0)
    drawn = first.drawn - second.drawn
    variance = own_seed_variance(each)
    deviations = bootstrap_deviations(drawn, variance, first.seed)
    low, high = percentile_interval(value + deviations, level)
    error = drawn.std(axis=0, ddof=1)
    p = p_values(deviations.T, value, error, len(first.images), variance)
    return [
        Difference(
            value=float(value[k]),
            p=float(p[k]),
            adjusted=float(p[k]),
            low=float(low[k]),
            high=float(high[k]),
            level=level,
        )
        for k in range(len(first.names))
    ]


def paired_permutation(
    first: Additive, second: Additive, *, resamples: int = 1000, seed: int = 0
) -> list[tuple[float, float]]:
    """Swap the predictions of two cells at random, image by image (Noreen 1989).

    The test is exact for the hypothesis that it does not matter which cell wrote a caption.

    Returns:
        The difference and the p-value of each score.
    """
    check_comparable(first, second)
    one, two = first.sufficient_statistics(), second.sufficient_statistics()
    rng = np.random.default_rng(seed)

    def difference(moved: Array) -> Array:
        sums = one.sum(axis=0) + moved, two.sum(axis=0) - moved
        swapped: Array = first.aggregate(sums[0]) - first.aggregate(sums[1])
        return swapped

    value = difference(np.zeros((1, one.shape[1])))[0]
    blocks = [min(BLOCK, resamples - start) for start in range(0, resamples, BLOCK)]
    drawn = [difference(rng.integers(2, size=(block, len(one))) @ (two - one)) for block in blocks]
    p = exceedance_rate(np.concatenate(drawn).T, value)
    return [(float(value[k]), float(p[k])) for k in range(len(value))]


def both_replicated(
    pair: Sequence[Statistic], resamples: int = 200
) -> tuple[Replicates, Replicates]:
    one, two = (replicate(each, resamples=resamples) for each in pair)
    return one, two
