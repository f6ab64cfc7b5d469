"""Corrections for many comparisons."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from prefixcap.errors import PrefixcapError
from prefixcap.evaluation.stats.base import Array


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusts p-values so that all comparisons together err with the stated probability.

    Holm, "A simple sequentially rejective multiple test procedure" (1979). It holds whatever the
    comparisons have to do with each other.

    Raises:
        PrefixcapError: a value is no probability.
    """
    found = _checked(p_values)
    order = np.argsort(found, kind="stable")
    factors = np.arange(len(found), 0, -1)
    return _restored(np.maximum.accumulate(found[order] * factors), order)


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusts p-values so that the stated share of what is called real is expected to be false.

    Benjamini and Hochberg, "Controlling the false discovery rate" (1995). It holds for comparisons
    that are independent or positively related.

    Raises:
        PrefixcapError: a value is no probability.
    """
    found = _checked(p_values)
    order = np.argsort(found, kind="stable")
    factors = len(found) / np.arange(1, len(found) + 1)
    raised = found[order] * factors
    return _restored(np.minimum.accumulate(raised[::-1])[::-1], order)


def _restored(raised: Array, order: np.ndarray) -> list[float]:
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(raised, 1.0)
    return [float(value) for value in adjusted]


def _checked(p_values: Sequence[float]) -> Array:
    for value in p_values:
        if not 0 <= value <= 1:
            raise PrefixcapError(f"{value} is no p-value: it is not between 0 and 1")
    return np.asarray(p_values, dtype=np.float64)
