"""Uncertainty of caption scores: resampled corpus scores, confidence intervals and tests.

Shapes: S resamples, I images, K scores that are computed together, M pairs of cells, F sufficient
statistics of an image.
"""

from __future__ import annotations

from prefixcap.evaluation.stats.base import Additive, Array, Mean, Resamplable, Statistic
from prefixcap.evaluation.stats.correct import benjamini_hochberg, holm
from prefixcap.evaluation.stats.estimates import Difference, Estimate
from prefixcap.evaluation.stats.pairs import CellTable, PairwiseDifferences
from prefixcap.evaluation.stats.replicates import (
    Replicates,
    bootstrap_interval,
    pool_seeds,
    replicate,
)
from prefixcap.evaluation.stats.seeds import SeedVariance

__all__ = [
    "Additive",
    "Array",
    "CellTable",
    "Difference",
    "Estimate",
    "Mean",
    "PairwiseDifferences",
    "Replicates",
    "Resamplable",
    "SeedVariance",
    "Statistic",
    "benjamini_hochberg",
    "bootstrap_interval",
    "holm",
    "pool_seeds",
    "replicate",
]
