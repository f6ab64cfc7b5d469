"""Corpus CIDEr-D, with document frequencies counted anew on each resample."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, final

import attrs
import numpy as np
from numpy.typing import NDArray

from prefixcap.stats.base import Array, Statistic, check_captions
from prefixcap.stats.grams import ORDERS, Grams, grams

if TYPE_CHECKING:
    from scipy.sparse import csr_array

SIGMA = 6.0
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

    def __init__(
        self,
        references: Mapping[Hashable, Sequence[str]],
        predictions: Mapping[Hashable, Sequence[str]],
    ) -> None:
        self._images = check_captions(references, predictions)
        self._tables = _tables(references, predictions)

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


@attrs.frozen(eq=False)
class _Tables:
    """Counts in sparse matrices; a row is a pair of captions and an order of n-grams they share.

    Attributes:
        documents: (columns,I), in which images' references a column's n-grams stand.
        products: (rows,columns), min(c,r) r.
        references: (rows,columns), r^2.
        predictions: (I*4,columns), c^2.
        image: (rows), each row's image.
        prediction: (rows), each row's row in `predictions`.
        scale: (rows), the penalty of lengths that differ, and the means' divisors.
    """

    documents: csr_array
    products: csr_array
    references: csr_array
    predictions: csr_array
    image: NDArray[np.int64]
    prediction: NDArray[np.int64]
    scale: Array


class _Entries:
    """The entries of a sparse matrix, as they are found."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.columns: list[int] = []
        self.values: list[int] = []

    def add(self, row: int, column: int, value: int) -> None:
        self.rows.append(row)
        self.columns.append(column)
        self.values.append(value)

    def matrix(self, shape: tuple[int, int], columns: NDArray[np.int64]) -> csr_array:
        """Makes (rows,columns), n-grams put into their columns and added up there."""
        from scipy.sparse import csr_array

        places = columns[np.array(self.columns, dtype=np.int64)]
        values = np.array(self.values, dtype=np.float64)
        return csr_array((values, (np.array(self.rows, dtype=np.int64), places)), shape=shape)


def _tables(
    references: Mapping[Hashable, Sequence[str]], predictions: Mapping[Hashable, Sequence[str]]
) -> _Tables:
    ids: dict[tuple[str, ...], int] = {}
    products, squares, own = _Entries(), _Entries(), _Entries()
    documents: list[list[int]] = []
    image: list[int] = []
    prediction: list[int] = []
    scale: list[float] = []

    def number(gram: tuple[str, ...]) -> int:
        found = ids.setdefault(gram, len(ids))
        if found == len(documents):
            documents.append([])
        return found

    for i, (key, texts) in enumerate(references.items()):
        counts = [grams(text) for text in texts]
        for gram in dict.fromkeys(gram for each in counts for gram in each):
            documents[number(gram)].append(i)
        candidate = grams(predictions[key][0])
        for gram, count in candidate.items():
            own.add(ORDERS * i + len(gram) - 1, number(gram), count**2)
        for reference in counts:
            factor = _length_penalty(candidate, reference) * 10 / (ORDERS * len(counts))
            for order, shared in _shared(candidate, reference):
                row = len(image)
                image.append(i)
                prediction.append(ORDERS * i + order - 1)
                scale.append(factor)
                for gram in shared:
                    least = min(candidate[gram], reference[gram])
                    products.add(row, ids[gram], least * reference[gram])
                for gram, count in reference.items():
                    if len(gram) == order:
                        squares.add(row, ids[gram], count**2)
    columns, matrix = _columns(documents, len(references))
    width = matrix.shape[0]
    return _Tables(
        documents=matrix,
        products=products.matrix((len(image), width), columns),
        references=squares.matrix((len(image), width), columns),
        predictions=own.matrix((ORDERS * len(references), width), columns),
        image=np.array(image, dtype=np.int64),
        prediction=np.array(prediction, dtype=np.int64),
        scale=np.array(scale, dtype=np.float64),
    )


def _columns(documents: list[list[int]], images: int) -> tuple[NDArray[np.int64], csr_array]:
    """Gives the n-grams of the same images a column: each n-gram's column, and (columns,I)."""
    from scipy.sparse import csr_array

    found: dict[tuple[int, ...], int] = {}
    columns = [found.setdefault(tuple(each), len(found)) for each in documents]
    lengths = np.array([len(each) for each in found], dtype=np.int64)
    where = np.fromiter((i for each in found for i in each), dtype=np.int64)
    rows = np.repeat(np.arange(len(found)), lengths)
    ones = np.ones(len(where), dtype=np.int64)
    matrix = csr_array((ones, (rows, where)), shape=(len(found), images))
    return np.array(columns, dtype=np.int64), matrix


def _shared(one: Grams, other: Grams) -> Iterator[tuple[int, list[tuple[str, ...]]]]:
    """Yields each order of n-grams that both captions have, with these n-grams."""
    by_order: list[list[tuple[str, ...]]] = [[] for _ in range(ORDERS)]
    for gram in one:  # in its own order: that of a set changes from run to run
        if gram in other:
            by_order[len(gram) - 1].append(gram)
    return ((n, shared) for n, shared in enumerate(by_order, start=1) if shared)


def _length_penalty(one: Grams, other: Grams) -> float:
    # pycocoevalcap takes the number of 2-grams for the length
    lengths = [
        sum(count for gram, count in each.items() if len(gram) == 2) for each in (one, other)
    ]
    return float(np.exp(-((lengths[0] - lengths[1]) ** 2) / (2 * SIGMA**2)))
