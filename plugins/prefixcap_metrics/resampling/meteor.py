"""Corpus METEOR from each image's statistics, for resampling."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import final

import numpy as np

from prefixcap.evaluation.stats import Additive, Array

ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75
STAGES = np.array([1.0, 0.6, 0.8, 0.6])
"""METEOR 1.5's own parameters for English; the stages: exact, stem, synonym, paraphrase."""


@final
class MeteorStatistic(Additive):
    """METEOR 1.5 (Denkowski and Lavie 2014): its statistics add up over images.

    Args:
        lines: each image's statistics as METEOR prints them, 23 numbers: the lengths of prediction
            and reference, their function words, for each stage the matched content words of both
            and the matched function words of both, the chunks, and the matched words of both.
        images: the images, in the lines' order.
    """

    def __init__(self, lines: Sequence[str], images: Sequence[Hashable]) -> None:
        self._images = tuple(images)
        self._features = np.array([line.split() for line in lines], dtype=np.float64)
        # as METEOR adds them up: a prediction that is a reference, word for word, has no chunk
        lengths, chunks = self._features[:, 0:2], self._features[:, 20]
        whole = (self._features[:, 21:23] == lengths).all(axis=1) & (chunks == 1)
        self._features[whole, 20] = 0.0

    @property
    def names(self) -> tuple[str, ...]:
        """`METEOR`."""
        return ("METEOR",)

    @property
    def images(self) -> tuple[Hashable, ...]:
        """The images."""
        return self._images

    def features(self) -> Array:
        """Returns the statistics (I,23), without the chunks of perfect predictions."""
        return self._features

    def combined(self, sums: Array) -> Array:
        """Computes METEOR (S,1) from sums (S,23)."""
        lengths, functions = sums[:, 0:2], sums[:, 2:4]
        matches = sums[:, 4:20].reshape(-1, 4, 2, 2)  # stage; content, function; both texts
        chunks, words = sums[:, 20], sums[:, 21:23]
        weights = np.array([DELTA, 1 - DELTA])
        matched = np.einsum("s,f,rsfb->rb", STAGES, weights, matches)
        shares = _ratio(matched, DELTA * (lengths - functions) + (1 - DELTA) * functions)
        precision, recall = shares[:, 0], shares[:, 1]
        mean = _ratio(precision * recall, ALPHA * precision + (1 - ALPHA) * recall)
        fragmented = _ratio(chunks, words.mean(axis=1))
        scores: Array = (mean * (1 - GAMMA * fragmented**BETA))[:, None]
        return scores


def _ratio(one: Array, other: Array) -> Array:
    found: Array = np.divide(one, other, out=np.zeros_like(one), where=other > 0)
    return found
