"""Corrections for multiple comparisons."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from prefixcap.errors import PrefixcapError
from prefixcap.evaluation.stats.base import Array


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values to control the probability of any false positive (Holm 1979).

    This holds for any dependence between the comparisons.

    Raises:
        PrefixcapError: If a value is not between 0 and 1.
    """
    p = _checked(p_values)
    order = np.argsort(p, kind="stable")
    scaled = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(scaled, 1.0)
    return [float(value) for value in adjusted]


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values to control the false discovery rate (Benjamini and Hochberg 1995).

    This holds for comparisons that are independent or positively dependent.

    Raises:
        PrefixcapError: If a value is not between 0 and 1.
    """
    from scipy.stats import false_discovery_control

    p = _checked(p_values)
    return [float(value) for value in false_discovery_control(p)] if len(p) else []


def _checked(p_values: Sequence[float]) -> Array:
    for value in p_values:
        if not 0 <= value <= 1:
            raise PrefixcapError(f"{value} is not a p-value: it is not between 0 and 1")
    return np.asarray(p_values, dtype=np.float64)
