"""Uncertainty of caption scores: corpus scores that can be resampled, intervals and tests.

Shapes here: S resamples, I images, K scores that are computed together, F additive features.
"""

from __future__ import annotations

from prefixcap.evaluation.stats.base import Additive, Array, Mean, Resamplable, Statistic
from prefixcap.evaluation.stats.compare import Difference, paired_bootstrap, paired_permutation
from prefixcap.evaluation.stats.correct import benjamini_hochberg, holm
from prefixcap.evaluation.stats.interval import Interval, bootstrap_interval
from prefixcap.evaluation.stats.pairs import Cells, Pairs
from prefixcap.evaluation.stats.replicates import Replicates, combined, replicate
from prefixcap.evaluation.stats.seeds import SeedVariance

__all__ = [
    "Additive",
    "Array",
    "Cells",
    "Difference",
    "Interval",
    "Mean",
    "Pairs",
    "Replicates",
    "Resamplable",
    "SeedVariance",
    "Statistic",
    "benjamini_hochberg",
    "bootstrap_interval",
    "combined",
    "holm",
    "paired_bootstrap",
    "paired_permutation",
    "replicate",
]
