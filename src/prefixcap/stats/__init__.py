"""Uncertainty of caption scores: corpus scores that can be resampled, intervals and tests.

Shapes here: S resamples, I images, K scores that are computed together, F additive features.
"""

from __future__ import annotations

from prefixcap.stats.base import Additive, Array, Mean, Resamplable, Statistic
from prefixcap.stats.bleu import BleuStatistic
from prefixcap.stats.cider import CiderStatistic
from prefixcap.stats.compare import Difference, paired_bootstrap, paired_permutation
from prefixcap.stats.correct import benjamini_hochberg, holm
from prefixcap.stats.interval import Interval, bootstrap_interval
from prefixcap.stats.pairs import Cells, Pairs
from prefixcap.stats.replicates import Replicates, combined, replicate
from prefixcap.stats.seeds import Spread

__all__ = [
    "Additive",
    "Array",
    "BleuStatistic",
    "Cells",
    "CiderStatistic",
    "Difference",
    "Interval",
    "Mean",
    "Pairs",
    "Replicates",
    "Resamplable",
    "Spread",
    "Statistic",
    "benjamini_hochberg",
    "bootstrap_interval",
    "combined",
    "holm",
    "paired_bootstrap",
    "paired_permutation",
    "replicate",
]
