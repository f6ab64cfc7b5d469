"""Corpus METEOR from the statistics of each image."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import final

import numpy as np
from typing_extensions import override

from prefixcap.evaluation.stats import Additive, Array

ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75
STAGES = np.array([1.0, 0.6, 0.8, 0.6])
"""METEOR 1.5's parameters for English, with the stages exact, stem, synonym and paraphrase."""


@final
class MeteorStatistic(Additive):
    """METEOR 1.5 (Denkowski and Lavie 2014), whose statistics add up over images.

    Args:
        lines: The statistics of each image as METEOR prints them, 23 numbers: lengths of
            prediction and reference, function words of both, for each stage the matched content
            words of both and the matched function words of both, chunks, matched words of both.
        images: The images, in the lines' order.
    """

    def __init__(self, lines: Sequence[str], images: Sequence[Hashable]) -> None:
        statistics = np.array([line.split() for line in lines], dtype=np.float64)
        # as METEOR sums them: a prediction that equals a reference has no chunk
        lengths, chunks = statistics[:, 0:2], statistics[:, 20]
        exact = (statistics[:, 21:23] == lengths).all(axis=1) & (chunks == 1)
        statistics[exact, 20] = 0.0
        super().__init__(("METEOR",), images, statistics)

    @override
    def aggregate(self, sums: Array) -> Array:
        lengths, functions = sums[:, 0:2], sums[:, 2:4]
        matches = sums[:, 4:20].reshape(-1, 4, 2, 2)  # (S, stage, content or function, text)
        chunks, words = sums[:, 20], sums[:, 21:23]
        weights = np.array([DELTA, 1 - DELTA])
        matched = np.einsum("s,f,rsfb->rb", STAGES, weights, matches)
        rates = _ratio(matched, DELTA * (lengths - functions) + (1 - DELTA) * functions)
        precision, recall = rates[:, 0], rates[:, 1]
        mean = _ratio(precision * recall, ALPHA * precision + (1 - ALPHA) * recall)
        fragmented = _ratio(chunks, words.mean(axis=1))
        scores: Array = (mean * (1 - GAMMA * fragmented**BETA))[:, None]
        return scores


def _ratio(numerator: Array, denominator: Array) -> Array:
    ratio: Array = np.divide(
        numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0
    )
    return ratio
