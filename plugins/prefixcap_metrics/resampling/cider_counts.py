"""The n-gram counts of CIDEr-D, in sparse matrices."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import attrs
import numpy as np

from prefixcap.evaluation.stats.base import Array, Captions, Ints
from prefixcap_metrics.resampling.ngrams import ORDERS, NgramEntries, count_grams

if TYPE_CHECKING:
    from scipy.sparse import csr_array

SIGMA = 6.0


@attrs.frozen(eq=False)
class CiderTables:
    """N-gram counts c of predictions and r of references.

    A row is a prediction, one of its references and an order of n-grams of which they share some.

    Attributes:
        documents: (columns,I), the images whose references contain a column's n-grams.
        products: (rows,columns), min(c,r) r.
        references: (rows,columns), r^2.
        predictions: (I*4,columns), c^2.
        image: (rows), the image of each row.
        prediction: (rows), the index of each row in `predictions`.
        scale: (rows), the length penalty divided by the numbers of orders and references.
    """

    documents: csr_array
    products: csr_array
    references: csr_array
    predictions: csr_array
    image: Ints
    prediction: Ints
    scale: Array


def tables(references: Captions, predictions: Captions) -> CiderTables:
    """Count the n-grams of I images' references and predictions."""
    images = len(references)
    texts = [text for each in references.values() for text in each]
    image_of = np.repeat(np.arange(images), [len(each) for each in references.values()])
    refs, preds = count_grams(texts, [each[0] for each in predictions.values()])
    documents, column = _documents(image_of[refs.caption], refs.gram, images, preds)
    shared = _count_in(preds, image_of[refs.caption], refs.gram)
    # one row per reference and order with a shared n-gram, in the references' order
    row_key = refs.caption * ORDERS + refs.order
    keys = np.unique(row_key[shared > 0])
    row = np.minimum(np.searchsorted(keys, row_key), max(len(keys) - 1, 0))
    used = keys[row] == row_key if len(keys) else np.zeros(len(row_key), dtype=bool)
    reference, order = keys // ORDERS, keys % ORDERS
    image = image_of[reference]
    shape = (len(keys), documents.shape[0])
    both = shared > 0
    return CiderTables(
        documents=documents,
        products=_matrix(
            np.minimum(shared, refs.count)[both] * refs.count[both],
            (row[both], column[refs.gram[both]]),
            shape,
        ),
        references=_matrix(refs.count[used] ** 2, (row[used], column[refs.gram[used]]), shape),
        predictions=_matrix(
            preds.count**2,
            (preds.caption * ORDERS + preds.order, column[preds.gram]),
            (ORDERS * images, documents.shape[0]),
        ),
        image=image,
        prediction=image * ORDERS + order,
        scale=_scale(refs, preds, image_of)[reference],
    )


def _documents(image: Ints, gram: Ints, images: int, preds: NgramEntries) -> tuple[csr_array, Ints]:
    """Assign one column to all n-grams that occur in the references of the same images.

    Args:
        image: The image of each entry of the references.
        gram: Its n-gram.
        images: I.
        preds: The entries of the predictions, which may have other n-grams.

    Returns:
        (columns,I), and the column of each n-gram.
    """
    from scipy.sparse import csr_array

    pairs = np.unique(gram * images + image)
    grams = max(gram.max(initial=-1), preds.gram.max(initial=-1)) + 1
    starts = np.searchsorted(pairs // images, np.arange(grams + 1))
    where = pairs % images
    columns_of: dict[bytes, int] = {}
    column = np.empty(grams, dtype=np.int64)
    lists: list[Ints] = []
    for number, (start, end) in enumerate(pairwise(starts)):
        each = where[start:end]
        column[number] = columns_of.setdefault(each.tobytes(), len(columns_of))
        if len(columns_of) > len(lists):
            lists.append(each)
    rows = np.repeat(np.arange(len(lists)), [len(each) for each in lists])
    columns = np.concatenate([np.empty(0, dtype=np.int64), *lists])
    ones = np.ones(len(rows), dtype=np.int64)
    return csr_array((ones, (rows, columns)), shape=(len(lists), images)), column


def _count_in(preds: NgramEntries, image: Ints, gram: Ints) -> Ints:
    """Return how often each entry's n-gram occurs in the prediction of the entry's image."""
    if not len(preds.gram):
        return np.zeros(len(gram), dtype=np.int64)
    width = max(gram.max(initial=0), preds.gram.max()) + 1
    keys = preds.caption * width + preds.gram  # sorted, as entries are
    queries = image * width + gram
    position = np.minimum(np.searchsorted(keys, queries), len(keys) - 1)
    return np.where(keys[position] == queries, preds.count[position], 0)


def _scale(refs: NgramEntries, preds: NgramEntries, image_of: Ints) -> Array:
    """Return each reference's factor: 10 times the length penalty / (orders * references)."""
    # pycocoevalcap uses the number of 2-grams as the length
    ref_bigrams, pred_bigrams = (np.maximum(each.lengths - 1, 0) for each in (refs, preds))
    difference = pred_bigrams[image_of] - ref_bigrams
    penalty = np.exp(-(difference.astype(np.float64) ** 2) / (2 * SIGMA**2))
    factors: Array = penalty * 10 / (ORDERS * np.bincount(image_of)[image_of])
    return factors


def _matrix(values: Ints, places: tuple[Ints, Ints], shape: tuple[int, int]) -> csr_array:
    from scipy.sparse import csr_array

    return csr_array((values.astype(np.float64), places), shape=shape)
