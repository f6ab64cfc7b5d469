"""BLEU, ROUGE-L and CIDEr-D, as pycocoevalcap computes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from typing_extensions import override

from prefixcap.evaluation.stats import Resamplable
from prefixcap.interfaces.metric import Metric, Record, Scores
from prefixcap_metrics.names import PTB, label
from prefixcap_metrics.ptb_tokenizer import by_image, tokenise_records
from prefixcap_metrics.resampling.bleu import BleuStatistic
from prefixcap_metrics.resampling.cider import CiderStatistic

if TYPE_CHECKING:
    from prefixcap.evaluation.stats import Statistic

BETA = 1.2  # of ROUGE-L, as in pycocoevalcap
LONG = 200_000
"""Characters of a caption from which CIDEr is counted in arrays: in pycocoevalcap's dictionaries
each takes 220 bytes."""


class _SharedWords(Metric):
    """The base of metrics of words that captions share.

    Args:
        tokenizer: "ptb" or "characters".
    """

    def __init__(self, tokenizer: str = PTB) -> None:
        self._tokenizer = tokenizer
        self._label = label(tokenizer)


class BleuMetric(_SharedWords, Resamplable):
    """Corpus BLEU-1 to BLEU-4 with the closest reference length."""

    @override
    def score(self, records: Sequence[Record]) -> Scores:
        from pycocoevalcap.bleu.bleu import Bleu

        tokens = tokenise_records(records, self._tokenizer)
        values, each = Bleu(4).compute_score(tokens.references, tokens.predictions, verbose=0)
        names = [f"Bleu_{n}{self._label}" for n in range(1, 5)]
        return Scores(
            values={name: float(value) for name, value in zip(names, values, strict=True)},
            per_image={name: _floats(scores) for name, scores in zip(names, each, strict=True)},
        )

    @override
    def statistic(self, records: Sequence[Record]) -> Statistic:
        return BleuStatistic(*by_image(records, self._tokenizer), self._label)


class RougeMetric(_SharedWords):
    """ROUGE-L, the mean over images."""

    @override
    def score(self, records: Sequence[Record]) -> Scores:
        tokens = tokenise_records(records, self._tokenizer)
        texts = zip(tokens.predictions.values(), tokens.references.values(), strict=True)
        each = tuple(rouge_l(prediction, references) for (prediction,), references in texts)
        name = f"ROUGE_L{self._label}"
        return Scores(values={name: fmean(each)}, per_image={name: each})


class CiderMetric(_SharedWords, Resamplable):
    """CIDEr-D, the mean over images, with document frequencies from their references."""

    @override
    def score(self, records: Sequence[Record]) -> Scores:
        from pycocoevalcap.cider.cider import Cider

        tokens = tokenise_records(records, self._tokenizer)
        name = f"CIDEr{self._label}"
        if not any(map(any, tokens.references.values())):  # no words, so no document frequencies
            return Scores(values={name: 0.0}, per_image={name: (0.0,) * len(records)})
        if max(len(texts[0]) for texts in tokens.predictions.values()) > LONG:
            each = CiderStatistic(tokens.references, tokens.predictions).per_image()
            return Scores(values={name: float(each.mean())}, per_image={name: _floats(each)})
        value, each = Cider().compute_score(tokens.references, tokens.predictions)
        return Scores(values={name: float(value)}, per_image={name: _floats(each)})

    @override
    def statistic(self, records: Sequence[Record]) -> Statistic:
        return CiderStatistic(*by_image(records, self._tokenizer), self._label)


def _floats(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def rouge_l(prediction: str, references: Sequence[str]) -> float:
    """Return ROUGE-L as pycocoevalcap does, which takes quadratic memory for it.

    An empty text is one empty word, so that two of them agree.
    """
    words = prediction.split(" ")
    pairs = [
        (common_length(words, other), len(other)) for other in (r.split(" ") for r in references)
    ]
    precision = max(common for common, _ in pairs) / len(words)
    recall = max(common / length for common, length in pairs)
    if not precision or not recall:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def common_length(one: Sequence[str], two: Sequence[str]) -> int:
    """Return the length of the longest common subsequence.

    A column of the usual table is one number, whose zero bits are the places where the length
    grows (Hyyro 2004, "Bit-parallel LCS-length Computation Revisited").
    """
    short, long = sorted((one, two), key=len)
    places: dict[str, int] = {}
    for place, word in enumerate(short):
        places[word] = places.get(word, 0) | 1 << place
    every = (1 << len(short)) - 1
    column = every
    for word in long:
        matches = column & places.get(word, 0)
        column = ((column + matches) | (column - matches)) & every
    return len(short) - column.bit_count()
