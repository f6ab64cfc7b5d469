"""Corpus BLEU from each image's counts."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import final

import numpy as np

from prefixcap.stats.base import Additive, Array, check_captions
from prefixcap.stats.grams import ORDERS, Grams, grams

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

    def __init__(
        self,
        references: Mapping[Hashable, Sequence[str]],
        predictions: Mapping[Hashable, Sequence[str]],
    ) -> None:
        self._images = check_captions(references, predictions)
        rows = [_counts(predictions[image][0], references[image]) for image in self._images]
        self._features = np.array(rows, dtype=np.float64)

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


def _counts(prediction: str, references: Sequence[str]) -> list[int]:
    length = len(prediction.split())
    most = Grams()
    for reference in references:
        most |= grams(reference)
    matches = [0] * ORDERS
    for gram, count in (grams(prediction) & most).items():
        matches[len(gram) - 1] += count
    totals = [max(0, length - n) for n in range(ORDERS)]
    lengths = [len(reference.split()) for reference in references]
    closest = min(lengths, key=lambda found: (abs(found - length), found))
    return [*matches, *totals, length, closest]
