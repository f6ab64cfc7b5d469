"""Corpus CIDEr-D, with the document frequencies of each resample."""

from __future__ import annotations

from collections.abc import Hashable
from typing import final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from prefixcap.evaluation.stats.base import Array, Captions, Statistic, check_captions
from prefixcap_metrics.resampling.cider_counts import tables

BLOCK = 32
"""Resamples at a time: few enough for the processor's caches."""


@final
class CiderStatistic(Statistic):
    """CIDEr-D (Vedantam et al. 2015), equal to pycocoevalcap's on every resample.

    An n-gram's weight is its squared inverse document frequency q = (log I - log df)^2. Given q,
    the similarity of a prediction and a reference is a ratio of sums that are linear in q:
    sum(min(c,r) r q) / sqrt(sum(c^2 q) sum(r^2 q)), for counts c and r, for each order of n-grams.
    So the counts are stored once in sparse matrices, and a resample costs four products. An image
    that is drawn twice counts twice in df. N-grams in the references of the same images have the
    same df in every resample and share a column.

    Its name ends with `label`.

    Raises:
        PrefixcapError: As `check_captions`.
    """

    def __init__(self, references: Captions, predictions: Captions, label: str = "") -> None:
        self._name = f"CIDEr{label}"
        self._images = check_captions(references, predictions)
        self._tables = tables(references, predictions)

    @property
    @override
    def names(self) -> tuple[str, ...]:
        return (self._name,)

    @property
    @override
    def images(self) -> tuple[Hashable, ...]:
        return self._images

    @override
    def resampled(self, weights: NDArray[np.int64]) -> Array:
        blocks = range(0, len(weights), BLOCK)
        scores = [self._block(weights[start : start + BLOCK]) for start in blocks]
        return np.concatenate(scores)[:, None]

    def per_image(self) -> Array:
        """Return the score (I) of every image on the original images."""
        images = len(self._images)
        ones = np.ones((1, images), dtype=np.int64)
        scores: Array = np.zeros(images)
        np.add.at(scores, self._tables.image, self._rows(ones)[:, 0])
        return scores

    def _block(self, weights: NDArray[np.int64]) -> Array:
        """Return the scores (S) of a block of resamples with weights (S,I)."""
        scores: Array = self._rows(weights).sum(axis=0) / weights.sum(axis=1)
        return scores

    def _rows(self, weights: NDArray[np.int64]) -> Array:
        """Return (rows,S), what each row of the tables adds to the sum over images."""
        tables = self._tables
        frequencies = tables.documents @ np.ascontiguousarray(weights.T)  # (columns,S)
        sizes = weights.sum(axis=1)
        # frequencies are small integers: logarithms are looked up instead of computed
        known = np.log(np.arange(1, sizes.max() + 1, dtype=np.float64))
        inverse = np.log(sizes) - known[np.maximum(frequencies, 1) - 1]
        q = np.square(inverse, out=inverse)
        norms = (tables.predictions @ q)[tables.prediction] * (tables.references @ q)
        products = tables.products @ q
        cosines = np.divide(products, np.sqrt(norms), out=np.zeros_like(products), where=norms > 0)
        rows: Array = cosines * tables.scale[:, None] * weights.T[tables.image]
        return rows
