"""Corpus BLEU from the counts of each image."""

from __future__ import annotations

from typing import final

import numpy as np
from typing_extensions import override

from prefixcap.evaluation.stats.base import Additive, Array, Captions, Ints, check_captions
from prefixcap_metrics.resampling.ngrams import ORDERS, NgramEntries, count_grams

TINY, SMALL = 1e-15, 1e-9  # pycocoevalcap's guards against dividing by zero


@final
class BleuStatistic(Additive):
    """BLEU 1 to 4 (Papineni et al. 2002) with the closest reference length.

    It equals pycocoevalcap's on every resample: counts and lengths add up over images. The names of
    its scores end with `label`.

    Raises:
        PrefixcapError: As `check_captions`.
    """

    def __init__(self, references: Captions, predictions: Captions, label: str = "") -> None:
        images = check_captions(references, predictions)
        counts = _counts(references, [each[0] for each in predictions.values()])
        super().__init__((f"Bleu_{n}{label}" for n in range(1, ORDERS + 1)), images, counts)

    @override
    def aggregate(self, sums: Array) -> Array:
        matches, totals = sums[:, :ORDERS], sums[:, ORDERS : 2 * ORDERS]
        lengths, closest = sums[:, -2:-1], sums[:, -1:]
        products = np.cumprod((matches + TINY) / (totals + SMALL), axis=1)
        ratio = (lengths + TINY) / (closest + SMALL)
        penalty = np.exp(np.minimum(0.0, 1 - 1 / ratio))
        scores: Array = products ** (1 / np.arange(1, ORDERS + 1)) * penalty
        return scores


def _counts(references: Captions, predictions: list[str]) -> Array:
    """Return (I,10): 4 counts of matches, 4 of n-grams, the length, the reference length."""
    image_of = np.repeat(np.arange(len(predictions)), [len(each) for each in references.values()])
    refs, preds = count_grams([text for each in references.values() for text in each], predictions)
    return np.column_stack(
        [
            _matches(refs, preds, image_of),
            np.maximum(preds.lengths[:, None] - np.arange(ORDERS), 0),
            preds.lengths,
            _closest(refs.lengths, preds.lengths, image_of),
        ]
    ).astype(np.float64)


def _matches(refs: NgramEntries, preds: NgramEntries, image_of: Ints) -> Ints:
    """Return (I,4), the clipped matches of each prediction with its references, by order."""
    width = max(refs.gram.max(initial=0), preds.gram.max(initial=0)) + 1
    keys = preds.caption * width + preds.gram
    queries = image_of[refs.caption] * width + refs.gram
    position = np.searchsorted(keys, queries)
    known = keys[np.minimum(position, len(keys) - 1)] == queries if len(keys) else queries < 0
    # an n-gram counts at most as often as in the reference that has it most often
    max_counts = np.zeros(len(keys), dtype=np.int64)
    np.maximum.at(max_counts, position[known], refs.count[known])
    matches = np.zeros((len(preds.lengths), ORDERS), dtype=np.int64)
    np.add.at(matches, (preds.caption, preds.order), np.minimum(preds.count, max_counts))
    return matches


def _closest(refs: Ints, preds: Ints, image_of: Ints) -> Ints:
    """Return (I), the reference length closest to the prediction's, the shorter one of a tie."""
    distance = np.abs(refs - preds[image_of])
    order = np.lexsort((refs, distance, image_of))
    first = np.searchsorted(image_of[order], np.arange(len(preds)))
    return refs[order][first]
