"""Corpus BLEU from each image's counts."""

from __future__ import annotations

from collections.abc import Hashable
from typing import final

import numpy as np

from prefixcap.evaluation.stats.base import Additive, Array, Captions, Ints, check_captions
from prefixcap_metrics.resampling.ngrams import ORDERS, Entries, count_grams

TINY, SMALL = 1e-15, 1e-9  # pycocoevalcap's guards against dividing by zero


@final
class BleuStatistic(Additive):
    """BLEU 1 to 4 (Papineni et al. 2002) with the closest reference length.

    Equal to pycocoevalcap's on every resample: BLEU's counts and lengths add up over images.

    Args:
        references: each image's tokenised references.
        predictions: each image's tokenised prediction, in a list of one.

    Raises:
        PrefixcapError: as `check_captions`.
    """

    def __init__(self, references: Captions, predictions: Captions) -> None:
        self._images = check_captions(references, predictions)
        self._features = _counts(references, [each[0] for each in predictions.values()])

    @property
    def names(self) -> tuple[str, ...]:
        """`Bleu_1` to `Bleu_4`."""
        return tuple(f"Bleu_{n}" for n in range(1, ORDERS + 1))

    @property
    def images(self) -> tuple[Hashable, ...]:
        """The images."""
        return self._images

    def features(self) -> Array:
        """Returns (I,10): 4 counts of matches, 4 of n-grams, the length, the reference's."""
        return self._features

    def combined(self, sums: Array) -> Array:
        """Computes BLEU (S,4) from sums (S,10)."""
        matches, totals = sums[:, :ORDERS], sums[:, ORDERS : 2 * ORDERS]
        lengths, closest = sums[:, -2:-1], sums[:, -1:]
        products = np.cumprod((matches + TINY) / (totals + SMALL), axis=1)
        ratio = (lengths + TINY) / (closest + SMALL)
        penalty = np.exp(np.minimum(0.0, 1 - 1 / ratio))
        scores: Array = products ** (1 / np.arange(1, ORDERS + 1)) * penalty
        return scores


def _counts(references: Captions, predictions: list[str]) -> Array:
    image_of = np.repeat(np.arange(len(predictions)), [len(each) for each in references.values()])
    theirs, own = count_grams([text for each in references.values() for text in each], predictions)
    return np.column_stack(
        [
            _matches(theirs, own, image_of),
            np.maximum(own.lengths[:, None] - np.arange(ORDERS), 0),
            own.lengths,
            _closest(theirs.lengths, own.lengths, image_of),
        ]
    ).astype(np.float64)


def _matches(theirs: Entries, own: Entries, image_of: Ints) -> Ints:
    """Returns (I,4), how many n-grams of each prediction stand in one of its references."""
    width = max(theirs.gram.max(initial=0), own.gram.max(initial=0)) + 1
    keys = own.caption * width + own.gram
    wanted = image_of[theirs.caption] * width + theirs.gram
    place = np.searchsorted(keys, wanted)
    known = keys[np.minimum(place, len(keys) - 1)] == wanted if len(keys) else wanted < 0
    most = np.zeros(len(keys), dtype=np.int64)
    np.maximum.at(most, place[known], theirs.count[known])
    found = np.zeros((own.captions, ORDERS), dtype=np.int64)
    np.add.at(found, (own.caption, own.order), np.minimum(own.count, most))
    return found


def _closest(theirs: Ints, own: Ints, image_of: Ints) -> Ints:
    """Returns (I), the references' length closest to the prediction's, the shorter of two."""
    distance = np.abs(theirs - own[image_of])
    order = np.lexsort((theirs, distance, image_of))
    first = np.searchsorted(image_of[order], np.arange(len(own)))
    return theirs[order][first]
