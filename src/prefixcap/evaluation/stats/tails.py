"""p-values: counted where there is something to count, by their tail where there is not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from prefixcap.evaluation.stats.base import Array
from prefixcap.evaluation.stats.seeds import SeedVariance

ENOUGH = 10
"""Resamples that must be as far out as a difference for their share to be taken for its p."""
_NODES = np.linspace(-10, 10, 201)


def shares(drawn: Array, value: Array) -> Array:
    """Returns (M), the share of draws (M,S), with the value (M) itself, as far out as the value."""
    counts = far_out(drawn, value)
    found: Array = (1 + counts) / (1 + drawn.shape[-1])
    return found


def far_out(drawn: Array, value: Array) -> NDArray[np.int64]:
    """Counts the draws (M,S) that are as far from zero as the value (M)."""
    # rounding must not make an equal difference a smaller one
    least = np.abs(value) * (1 - 1e-9)
    counts: NDArray[np.int64] = (np.abs(drawn) >= least[..., None]).sum(axis=-1)
    return counts


def p_values(
    drawn: Array, value: Array, error: Array, images: int, spread: SeedVariance | None
) -> Array:
    """Returns two-sided p-values (M) of differences from zero.

    The p-value is the share of the errors that are as far out as the difference. Of 1,000 errors
    none may be, and a table of many comparisons must tell 1e-3 from 1e-6: where fewer than ten are,
    the tail of the errors' distribution stands in, of Student's t with I - 1 degrees of freedom for
    the images plus, with several seeds, Student's t of theirs.

    Args:
        drawn: (M,S), errors of images and seeds.
        value: (M), the differences.
        error: (M), the standard error from images alone.
        images: I.
        spread: what the seeds bring, (M).
    """
    if images < 2:  # nothing can be resampled
        return np.ones_like(value)
    counts = far_out(drawn, value)
    p: Array = (1 + counts) / (1 + drawn.shape[-1])
    seeds = np.zeros_like(error) if spread is None else np.broadcast_to(spread.error, error.shape)
    rare = (counts < ENOUGH) & (error + seeds > 0)
    if rare.any():
        freedom = 1 if spread is None else spread.freedom
        tail = _tail(np.abs(value[rare]), error[rare], seeds[rare], images - 1, freedom)
        # by ten errors, the two say the same; rounding alone must not make a p of zero
        p[rare] = np.clip(tail, np.finfo(np.float64).tiny, ENOUGH / (1 + drawn.shape[-1]))
    return p


def _tail(value: Array, error: Array, seeds: Array, images: int, freedom: int) -> Array:
    """Returns P(|error t + seeds u| >= value), t of `images` and u of `freedom` degrees."""
    from scipy.special import stdtr
    from scipy.stats import t

    images = max(images, 1)
    found: Array = 2 * stdtr(images, -value / np.hypot(error, seeds))
    mixed = seeds > 0.1 * error
    little = ~mixed & (seeds > 0)  # the nodes are too far apart for it, and the tails just add up
    found[little] += 2 * stdtr(freedom, -value[little] / seeds[little])
    if mixed.any():
        weights = t.pdf(_NODES, images)
        weights /= weights.sum()
        one, other, scale = (each[mixed][:, None] for each in (value, error, seeds))
        # nodes and weights are the same on both sides of zero, so the two tails are
        found[mixed] = 2 * stdtr(freedom, (other * _NODES - one) / scale) @ weights
    return found
