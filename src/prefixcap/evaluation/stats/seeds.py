"""What other seeds would have changed: the second source of a score's variance."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import attrs
import numpy as np

from prefixcap.evaluation.stats.base import Array


@attrs.frozen(kw_only=True, eq=False)
class SeedVariance:
    """The standard error that seeds bring to K means over seeds, or to differences of such.

    Attributes:
        error: (K) or (M,K), the standard error.
        freedom: the degrees of freedom of the variance it was estimated by.
    """

    error: Array
    freedom: int


def own_spread(observed: Array) -> SeedVariance | None:
    """Estimates the spread of the mean of n seeds (n,K) from these seeds alone; None where n = 1.

    For a difference of two cells, `observed` are the differences seed by seed.
    """
    seeds = len(observed)
    if seeds < 2:
        return None
    return SeedVariance(error=observed.std(axis=0, ddof=1) / np.sqrt(seeds), freedom=seeds - 1)


def pooled_variance(cells: Sequence[Array]) -> tuple[Array, int]:
    """Pools the seeds' variance within cells.

    Args:
        cells: (n,K) of each cell; the number of seeds may differ.

    Returns:
        The variance (K) of one seed, and its degrees of freedom; 0 where no cell has two seeds.
    """
    freedom = sum(len(each) - 1 for each in cells)
    squares = sum(((each - each.mean(axis=0)) ** 2).sum(axis=0) for each in cells)
    return np.asarray(squares / max(freedom, 1)), freedom


def pooled_paired_variance(cells: Sequence[Array]) -> tuple[Array, int]:
    """Pools the variance of the differences of cells over all pairs, seed by seed.

    It is twice the residual variance of a layout of cells by seeds, as in an analysis of variance
    with the seeds as blocks (Fisher 1935); for two cells, the variance of their differences.

    Args:
        cells: (n,K) of each of at least two cells, the same n.

    Returns:
        The variance (K) of one difference, and its degrees of freedom.
    """
    table = np.stack(cells)  # (cells,n,K)
    means = table.mean(axis=0, keepdims=True) + table.mean(axis=1, keepdims=True)
    rest = table - means + table.mean(axis=(0, 1), keepdims=True)
    freedom = (len(cells) - 1) * (table.shape[1] - 1)
    return 2 * (rest**2).sum(axis=(0, 1)) / freedom, freedom


@cache
def t_draws(freedom: int, resamples: int, seed: int) -> Array:
    """Returns (S), Student's t's own quantiles in random order: draws without their own noise."""
    from scipy.special import stdtrit

    places = (np.arange(resamples) + 0.5) / resamples
    draws: Array = np.random.default_rng([seed, 1]).permutation(stdtrit(freedom, places))
    draws.setflags(write=False)
    return draws
