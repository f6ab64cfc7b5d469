"""Confidence intervals of corpus scores."""

from __future__ import annotations

from prefixcap.evaluation.stats.estimates import Estimate
from prefixcap.evaluation.stats.replicates import (
    Replicates,
    bootstrap_deviations,
    percentile_interval,
)
from prefixcap.evaluation.stats.seeds import SeedVariance, own_seed_variance


def bootstrap_interval(
    replicates: Replicates, *, level: float = 0.95, variance: SeedVariance | None = None
) -> dict[str, Estimate]:
    """Estimate each score of a cell with a bootstrap confidence interval.

    The replicates are centered on the score itself, see `bootstrap_deviations`. The interval
    covers the expected score of as many images from the same source and, if the cell has several
    seeds, of other seeds.

    Args:
        replicates: The cell's replicates.
        level: The confidence level.
        variance: The variance between seeds; by default estimated from the cell's own seeds.

    Returns:
        K estimates, by the score's name.

    Raises:
        PrefixcapError: If the level is not between 0 and 1.
    """
    value = replicates.observed.mean(axis=0)  # (K)
    variance = own_seed_variance(replicates.observed) if variance is None else variance
    drawn = value + bootstrap_deviations(replicates.drawn, variance, replicates.seed)
    low, high = percentile_interval(drawn, level)
    return {
        name: Estimate(value=float(value[k]), low=float(low[k]), high=float(high[k]))
        for k, name in enumerate(replicates.names)
    }
