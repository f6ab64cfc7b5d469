"""Confidence intervals of corpus scores."""

from __future__ import annotations

import attrs

from prefixcap.evaluation.stats.replicates import Replicates, ends, errors
from prefixcap.evaluation.stats.seeds import SeedVariance, own_spread


@attrs.frozen(kw_only=True)
class Interval:
    """A score with its confidence interval.

    Attributes:
        name: the score's name.
        value: the score; the mean over seeds where there are several.
        low: the lower end.
        high: the upper end.
        level: the confidence level.
    """

    name: str
    value: float
    low: float
    high: float
    level: float


def bootstrap_interval(
    replicates: Replicates, *, level: float = 0.95, spread: SeedVariance | None = None
) -> list[Interval]:
    """Gives each score of a cell its confidence interval, by its replicates' quantiles.

    The replicates are moved to have the score itself as their mean (see `errors`); percentile
    intervals are not, and basic and BCa intervals are moved as far to the other side. What the
    interval covers is the expected score of as many images from the same source and, where the
    cell has several seeds, of other seeds. With one seed it says nothing about others.

    Args:
        replicates: the cell's.
        level: the confidence level.
        spread: what the seeds bring; estimated from the cell's own seeds unless given.

    Returns:
        K intervals.

    Raises:
        PrefixcapError: the level is out of range.
    """
    value = replicates.observed.mean(axis=0)
    spread = own_spread(replicates.observed) if spread is None else spread
    drawn = value + errors(replicates.drawn, spread, replicates.seed)
    low, high = ends(drawn, level)
    return [
        Interval(
            name=name,
            value=float(value[k]),
            low=float(low[k]),
            high=float(high[k]),
            level=level,
        )
        for k, name in enumerate(replicates.names)
    ]
