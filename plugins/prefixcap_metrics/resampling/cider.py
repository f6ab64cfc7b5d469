"""Corpus CIDEr-D, with document frequencies counted anew on each resample."""

from __future__ import annotations

from collections.abc import Hashable
from typing import final

import numpy as np
from numpy.typing import NDArray

from prefixcap.evaluation.stats.base import Array, Captions, Statistic, check_captions
from prefixcap_metrics.resampling.cider_counts import tables

BLOCK = 32
"""Resamples at a time: enough to use the processor well, few enough for its caches."""


@final
class CiderStatistic(Statistic):
    """CIDEr-D (Vedantam et al. 2015), as pycocoevalcap's on every resample.

    An n-gram's weight is its squared inverse document frequency, q = (log I - log df)^2, and given
    q the similarity of a prediction and a reference is a ratio of sums that are linear in q:
    sum(min(c,r) r q) / sqrt(sum(c^2 q) sum(r^2 q)), for counts c and r, of each order of n-grams.
    So the counts are laid down once in sparse matrices, and a resample costs four products. An
    image that is drawn twice counts twice in df, as it would were it written down twice. N-grams
    that stand in the references of the same images have the same df in every resample and share a
    column.

    Args:
        references: each image's tokenised references.
        predictions: each image's tokenised prediction, in a list of one.

    Raises:
        PrefixcapError: as `check_captions`.
    """

    def __init__(self, references: Captions, predictions: Captions) -> None:
        self._images = check_captions(references, predictions)
        self._tables = tables(references, predictions)

    @property
    def names(self) -> tuple[str, ...]:
        """`CIDEr`."""
        return ("CIDEr",)

    @property
    def images(self) -> tuple[Hashable, ...]:
        """The images."""
        return self._images

    def resampled(self, weights: NDArray[np.int64]) -> Array:
        """Computes CIDEr-D (S,1) of resampled corpora, by weights (S,I)."""
        blocks = range(0, len(weights), BLOCK)
        scores = [self._block(weights[start : start + BLOCK]) for start in blocks]
        return np.concatenate(scores)[:, None]

    def features(self) -> Array:
        """Returns (I,2): each image's CIDEr-D in the whole corpus, and a one.

        Document frequencies depend on the references alone, so these serve any predictions.
        """
        ones = np.ones((1, len(self._images)), dtype=np.int64)
        rows = self._rows(ones)[:, 0]
        each = np.bincount(self._tables.image, weights=rows, minlength=len(self._images))
        return np.stack([each, np.ones(len(each))], axis=1)

    def combined(self, sums: Array) -> Array:
        """Computes the mean (S,1) from sums (S,2)."""
        means: Array = sums[:, :1] / sums[:, 1:]
        return means

    def _block(self, weights: NDArray[np.int64]) -> Array:
        rows = self._rows(weights) * weights.T[self._tables.image]
        scores: Array = rows.sum(axis=0) / weights.sum(axis=1)
        return scores

    def _rows(self, weights: NDArray[np.int64]) -> Array:
        """Returns what each pair of captions and order adds to its image's score (rows,S)."""
        tables = self._tables
        frequencies = tables.documents @ np.ascontiguousarray(weights.T)
        sizes = weights.sum(axis=1)
        known = np.log(np.arange(1, sizes.max() + 1, dtype=np.float64))
        inverse = np.log(sizes) - known[np.maximum(frequencies, 1) - 1]
        q = np.square(inverse, out=inverse)
        norms = (tables.predictions @ q)[tables.prediction] * (tables.references @ q)
        products = tables.products @ q
        found = np.divide(products, np.sqrt(norms), out=np.zeros_like(products), where=norms > 0)
        rows: Array = found * tables.scale[:, None]
        return rows
