"""Whether two cells of a study differ: paired tests on the same images."""

from __future__ import annotations

import attrs
import numpy as np

from prefixcap.errors import PrefixcapError
from prefixcap.evaluation.stats.base import Array, Statistic
from prefixcap.evaluation.stats.replicates import (
    Replicates,
    check_alike,
    check_resamples,
    ends,
    errors,
)
from prefixcap.evaluation.stats.seeds import own_spread
from prefixcap.evaluation.stats.tails import p_values, shares

BLOCK = 128  # permutations whose signs are in memory at once


@attrs.frozen(kw_only=True)
class Difference:
    """The difference of two cells in one score, first minus second.

    Attributes:
        name: the score's name.
        value: the difference; of the means over seeds where there are several.
        p: the two-sided p-value of no difference.
        low: the lower end of the difference's confidence interval, where the test gives one.
        high: the upper end.
        level: the confidence level.
    """

    name: str
    value: float
    p: float
    low: float | None = None
    high: float | None = None
    level: float | None = None


def paired_bootstrap(
    first: Replicates, second: Replicates, *, level: float = 0.95
) -> list[Difference]:
    """Compares two cells by bootstrap over images, both on the same resamples (Koehn 2004).

    The interval is made as in `bootstrap_interval`, the p-value as `p_values` says. With several
    seeds, seed j of the first is paired with seed j of the second, and the variance of their
    differences is added; for cells whose seeds have nothing in common any pairing will do.

    Returns:
        K differences.

    Raises:
        PrefixcapError: the cells differ in their images, scores, resamples or number of seeds, or
            the level is out of range.
    """
    check_alike(first, second)
    check_resamples(first, second)
    if len(first.observed) != len(second.observed):
        raise PrefixcapError(
            f"cells are compared seed by seed, but one has {len(first.observed)} seeds "
            f"and the other {len(second.observed)}"
        )
    each = first.observed - second.observed
    value = each.mean(axis=0)
    moved = first.drawn - second.drawn
    spread = own_spread(each)
    drawn = errors(moved, spread, first.seed)
    low, high = ends(value + drawn, level)
    p = p_values(drawn.T, value, moved.std(axis=0, ddof=1), len(first.images), spread)
    return [
        Difference(
            name=name,
            value=float(value[k]),
            p=float(p[k]),
            low=float(low[k]),
            high=float(high[k]),
            level=level,
        )
        for k, name in enumerate(first.names)
    ]


def paired_permutation(
    first: Statistic, second: Statistic, *, resamples: int = 1000, seed: int = 0
) -> list[Difference]:
    """Compares two cells by swapping their predictions, image by image, at random.

    The test is exact ("approximate randomization", Noreen 1989) for the hypothesis that it does
    not matter which of the two made a prediction. It says nothing about how large the difference
    would be on other images, so there is no interval, nor about other seeds.

    Returns:
        K differences.

    Raises:
        PrefixcapError: the cells differ in their images or scores, or the number of resamples is
            not positive.
    """
    check_alike(first, second)
    if resamples < 1:
        raise PrefixcapError(f"the number of resamples must be at least 1, not {resamples}")
    one, two = first.features(), second.features()
    rng = np.random.default_rng(seed)

    def difference(moved: Array) -> Array:
        sums = one.sum(axis=0) + moved, two.sum(axis=0) - moved
        found: Array = first.combined(sums[0]) - first.combined(sums[1])
        return found

    value = difference(np.zeros((1, one.shape[1])))[0]
    blocks = [min(BLOCK, resamples - start) for start in range(0, resamples, BLOCK)]
    drawn = [difference(rng.integers(2, size=(block, len(one))) @ (two - one)) for block in blocks]
    p = shares(np.concatenate(drawn).T, value)
    return [
        Difference(name=name, value=float(value[k]), p=float(p[k]))
        for k, name in enumerate(first.names)
    ]
