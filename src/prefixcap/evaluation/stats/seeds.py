"""The variance of scores between seeds, the second source of uncertainty beside the images."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import attrs
import numpy as np

from prefixcap.evaluation.stats.base import Array


@attrs.frozen(kw_only=True, eq=False)
class SeedVariance:
    """The variance that seeds add to means over seeds, or to differences of such means.

    Attributes:
        standard_error: (K) or (M,K).
        dof: The degrees of freedom of the estimated variance.
    """

    standard_error: Array
    dof: int


def own_seed_variance(observed: Array) -> SeedVariance | None:
    """Estimate the variance of a mean of n seeds from these seeds alone; None for one seed.

    Args:
        observed: (n,K), the scores of each seed, or the differences of two cells seed by seed.
    """
    n = len(observed)
    if n < 2:
        return None
    return SeedVariance(standard_error=observed.std(axis=0, ddof=1) / np.sqrt(n), dof=n - 1)


def pooled_variance(cells: Sequence[Array]) -> tuple[Array, int]:
    """Pool the variance between seeds over cells.

    Args:
        cells: (n,K) of each cell; n may differ.

    Returns:
        The variance (K) of one seed and its degrees of freedom, 0 if no cell has two seeds.
    """
    dof = sum(len(each) - 1 for each in cells)
    squares = sum(((each - each.mean(axis=0)) ** 2).sum(axis=0) for each in cells)
    return np.asarray(squares / max(dof, 1)), dof


def pooled_paired_variance(cells: Sequence[Array]) -> tuple[Array, int]:
    """Pool the variance of the seed-by-seed differences over all pairs of cells.

    This is twice the residual variance of a two-way analysis of variance, cells by seeds.

    Args:
        cells: (n,K) of each of at least two cells, with the same n.

    Returns:
        The variance (K) of one difference and its degrees of freedom.
    """
    table = np.stack(cells)  # (cells,n,K)
    # subtract the effects of cells and of seeds; their interaction remains
    means = table.mean(axis=0, keepdims=True) + table.mean(axis=1, keepdims=True)
    residuals = table - means + table.mean(axis=(0, 1), keepdims=True)
    dof = (len(cells) - 1) * (table.shape[1] - 1)
    return 2 * (residuals**2).sum(axis=(0, 1)) / dof, dof


@cache
def t_draws(dof: int, resamples: int, seed: int) -> Array:
    """Return (S) quantiles of Student's t in random order: draws without sampling noise."""
    from scipy.special import stdtrit

    probabilities = (np.arange(resamples) + 0.5) / resamples
    draws: Array = np.random.default_rng([seed, 1]).permutation(stdtrit(dof, probabilities))
    draws.setflags(write=False)  # the cache shares it
    return draws
