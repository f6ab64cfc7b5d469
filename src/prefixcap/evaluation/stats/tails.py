"""p-values: counted among the resamples, or from the tail of their distribution if too rare."""

from __future__ import annotations

import numpy as np

from prefixcap.evaluation.stats.base import Array
from prefixcap.evaluation.stats.seeds import SeedVariance

ENOUGH = 10
"""Exceedances from which on their rate is the p-value."""
_NODES = np.linspace(-10, 10, 201)


def exceedance_rate(drawn: Array, value: Array) -> Array:
    """Return (M), the share of value (M) and draws (M,S) at least as far from 0 as the value."""
    # rounding must not make an equal difference a smaller one
    threshold = np.abs(value) * (1 - 1e-9)
    counts = (np.abs(drawn) >= threshold[..., None]).sum(axis=-1)
    rate: Array = (1 + counts) / (1 + drawn.shape[-1])
    return rate


def p_values(
    drawn: Array, value: Array, error: Array, images: int, variance: SeedVariance | None
) -> Array:
    """Return two-sided p-values (M) of differences from zero.

    The p-value is the rate of deviations that exceed the difference. Of 1,000 deviations possibly
    none does, but many comparisons must distinguish 1e-3 from 1e-6. So below ten exceedances
    the tail of a known distribution replaces the count: Student's t with I - 1 degrees of freedom
    for the images plus, with several seeds, Student's t for the seeds.

    Args:
        drawn: (M,S), deviations of images and seeds.
        value: (M), the differences.
        error: (M), the standard error from images alone.
        images: I.
        variance: The variance (M) between seeds.
    """
    if images < 2:  # a single image has only one resample
        return np.ones_like(value)
    p = exceedance_rate(drawn, value)
    at_most = ENOUGH / (1 + drawn.shape[-1])  # the rate of nine exceedances
    standard_error = 0.0 if variance is None else variance.standard_error
    seeds = np.broadcast_to(standard_error, error.shape)
    rare = (p <= at_most) & (error + seeds > 0)
    if rare.any():
        dof = 1 if variance is None else variance.dof
        tail = _tail(np.abs(value[rare]), error[rare], seeds[rare], images - 1, dof)
        # the tail must not exceed the count that it replaces, nor underflow to zero
        p[rare] = np.clip(tail, np.finfo(np.float64).tiny, at_most)
    return p


def _tail(value: Array, error: Array, seeds: Array, images: int, dof: int) -> Array:
    """Return P(|error t + seeds u| >= value), t with `images` and u with `dof` degrees."""
    from scipy.special import stdtr
    from scipy.stats import t

    images = max(images, 1)
    p: Array = 2 * stdtr(images, -value / np.hypot(error, seeds))
    mixed = seeds > 0.1 * error
    small = ~mixed & (seeds > 0)  # too narrow for the nodes below; the two tails are added instead
    p[small] += 2 * stdtr(dof, -value[small] / seeds[small])
    if mixed.any():
        # integrate over t by the trapezoidal rule; nodes are symmetric, so both tails are equal
        weights = t.pdf(_NODES, images)
        weights /= weights.sum()
        one, other, scale = (each[mixed][:, None] for each in (value, error, seeds))
        p[mixed] = 2 * stdtr(dof, (other * _NODES - one) / scale) @ weights
    return p
