"""Whether two cells of a study differ: paired tests on the same images."""

from __future__ import annotations

import attrs
import numpy as np

from prefixcap.errors import PrefixcapError
from prefixcap.stats.base import Array, Statistic
from prefixcap.stats.interval import (
    Cell,
    as_seeds,
    check,
    check_same_images,
    draw_weights,
    ends,
    scores,
    seed_errors,
)

BLOCK = 128


@attrs.frozen(kw_only=True)
class Difference:
    """The difference of two cells in one score, first minus second.

    Attributes:
        name: the score's name.
        value: the difference; of the means over seeds where there are several.
        low: the lower end of its confidence interval; nan where the test gives none.
        high: the upper end.
        level: the confidence level.
        p: the two-sided p-value of no difference.
    """

    name: str
    value: float
    low: float
    high: float
    level: float
    p: float


def paired_bootstrap(
    first: Cell, second: Cell, *, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> list[Difference]:
    """Compares two cells by bootstrap over images, both on the same resamples (Koehn 2004).

    The interval is made as in `bootstrap_interval`. The p-value is the share of replicates of the
    difference that, moved to a mean of zero, are as far from zero as the observed one. With
    several seeds, seed j of the first is paired with seed j of the second, and the variance of
    their differences is added; for cells whose seeds have nothing in common any pairing will do.

    Returns:
        K differences.

    Raises:
        PrefixcapError: the cells differ in their images, scores or number of seeds, or a setting
            is out of range.
    """
    check(level, resamples)
    one, two = _pair(first, second)
    rng = np.random.default_rng(seed)
    drawn = [
        np.mean([a.resampled(w) - b.resampled(w) for a, b in zip(one, two, strict=True)], axis=0)
        for w in draw_weights(len(one[0].images), resamples, rng)
    ]
    each = scores(one) - scores(two)
    value = each.mean(axis=0)
    errors = np.concatenate(drawn)
    errors = errors - errors.mean(axis=0) + seed_errors(each, resamples, rng)
    low, high = ends(value + errors, level)
    return _differences(one[0], value, _p_value(errors, value), low, high, level)


def paired_permutation(
    first: Statistic, second: Statistic, *, resamples: int = 1000, seed: int = 0
) -> list[Difference]:
    """Compares two cells by swapping their predictions, image by image, at random.

    The test is exact (Fisher; Noreen 1989, "approximate randomization") for the hypothesis that it
    does not matter which of the two made a prediction. It says nothing about other images' sizes
    of the difference (so there is no interval), nor about other seeds.

    Returns:
        K differences.

    Raises:
        PrefixcapError: the cells differ in their images or scores, or a setting is out of range.
    """
    check(0.5, resamples)
    _pair(first, second)
    one, two = first.features(), second.features()
    rng = np.random.default_rng(seed)
    value = _difference(first, one.sum(axis=0), two.sum(axis=0))[0]
    drawn = []
    for start in range(0, resamples, BLOCK):
        swapped = rng.integers(2, size=(min(BLOCK, resamples - start), len(one)))
        moved = swapped @ (two - one)
        drawn.append(_difference(first, one.sum(axis=0) + moved, two.sum(axis=0) - moved))
    nothing = np.full(len(value), np.nan)
    p = _p_value(np.concatenate(drawn), value)
    return _differences(first, value, p, nothing, nothing, np.nan)


def _pair(first: Cell, second: Cell) -> tuple[list[Statistic], list[Statistic]]:
    one, two = as_seeds(first), as_seeds(second)
    if one[0].names != two[0].names:
        raise PrefixcapError(
            f"only the same scores can be compared, not {one[0].names} and {two[0].names}"
        )
    if len(one) != len(two):
        raise PrefixcapError(
            f"cells are compared seed by seed, but one has {len(one)} seeds, the other {len(two)}"
        )
    check_same_images([*one, *two])
    return one, two


def _difference(statistic: Statistic, one: Array, two: Array) -> Array:
    found: Array = statistic.combined(np.atleast_2d(one)) - statistic.combined(np.atleast_2d(two))
    return found


def _p_value(errors: Array, value: Array) -> Array:
    """Returns (K), the share of errors (S,K), and of the value itself, as far out as the value."""
    # rounding must not make an equal difference a smaller one
    far = np.abs(errors) >= np.abs(value) * (1 - 1e-9)
    shares: Array = (1 + far.sum(axis=0)) / (1 + len(errors))
    return shares


def _differences(
    statistic: Statistic, value: Array, p: Array, low: Array, high: Array, level: float
) -> list[Difference]:
    return [
        Difference(
            name=name,
            value=float(value[k]),
            low=float(low[k]),
            high=float(high[k]),
            level=level,
            p=float(p[k]),
        )
        for k, name in enumerate(statistic.names)
    ]
