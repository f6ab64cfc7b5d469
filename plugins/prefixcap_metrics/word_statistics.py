"""Metrics of the predictions' words alone: length, distinct n-grams, repetition."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from statistics import fmean, pstdev

from typing_extensions import override

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.metric import Metric, Record, Scores
from prefixcap.util.words import characters, ngrams, words
from prefixcap_metrics.names import CHARACTERS, WORDS, labelled


class _WordMetric(Metric):
    """The base of metrics of words.

    Args:
        tokenizer: "words", or "characters" for single letters of scripts without spaces.
    """

    def __init__(self, tokenizer: str = WORDS) -> None:
        self._tokenizer = tokenizer

    @override
    def score(self, records: Sequence[Record]) -> Scores:
        if not records:
            raise PrefixcapError("there are no records to score")
        split = characters if self._tokenizer == CHARACTERS else words
        captions = [tuple(split(record.prediction)) for record in records]
        return labelled(self.score_words(captions), self._tokenizer)

    @abstractmethod
    def score_words(self, captions: Sequence[tuple[str, ...]]) -> Scores:
        """Score captions that are split into words."""


class LengthMetric(_WordMetric):
    """`Length` and `Length_std`, mean and standard deviation of the number of words."""

    @override
    def score_words(self, captions: Sequence[tuple[str, ...]]) -> Scores:
        lengths = [len(caption) for caption in captions]
        return Scores(
            values={"Length": fmean(lengths), "Length_std": pstdev(lengths)},
            per_image={"Length": tuple(map(float, lengths))},
        )


class _NgramMetric(_WordMetric):
    def __init__(self, max_n: int, tokenizer: str = WORDS) -> None:
        super().__init__(tokenizer)
        self._max_n = max_n  # length of the longest n-grams


class DistinctMetric(_NgramMetric):
    """Differences between the predictions.

    `Distinct_n` is the number of distinct n-grams divided by the number of all n-grams of all
    predictions, `Vocabulary` the number of distinct words, and `Distinct_captions` the share of
    distinct predictions. The shares fall as the corpus grows: compare equal numbers of images.
    Li et al. 2016 divide by the number of words, which is lower by the factor
    1 - (n - 1) / mean length if no caption is shorter than n - 1 words.
    """

    @override
    def score_words(self, captions: Sequence[tuple[str, ...]]) -> Scores:
        values = {f"Distinct_{n}": distinct(captions, n) for n in range(1, self._max_n + 1)}
        values["Vocabulary"] = float(len({word for caption in captions for word in caption}))
        values["Distinct_captions"] = len(set(captions)) / len(captions)
        return Scores(values=values)


class RepetitionMetric(_NgramMetric):
    """Repetition within a prediction, as means over images.

    `Rep_n` is 1 minus the number of distinct n-grams divided by the number of all n-grams of a
    prediction. `Rep_consecutive` is 1 if a word or a phrase of up to `max_n` words is immediately
    repeated, otherwise 0.
    """

    @override
    def score_words(self, captions: Sequence[tuple[str, ...]]) -> Scores:
        per_image = {
            f"Rep_{n}": tuple(_repeated(caption, n) for caption in captions)
            for n in range(2, self._max_n + 1)
        }
        per_image["Rep_consecutive"] = tuple(
            float(any(_repeats_at_once(caption, n) for n in range(1, self._max_n + 1)))
            for caption in captions
        )
        return Scores(values={k: fmean(v) for k, v in per_image.items()}, per_image=per_image)


def _repeated(caption: tuple[str, ...], n: int) -> float:
    return 1 - distinct([caption], n) if len(caption) >= n else 0.0


def _repeats_at_once(caption: tuple[str, ...], n: int) -> bool:
    ends = range(2 * n, len(caption) + 1)
    return any(caption[i - 2 * n : i - n] == caption[i - n : i] for i in ends)


def distinct(captions: Sequence[tuple[str, ...]], n: int) -> float:
    """Return the number of distinct n-grams divided by that of all, or 0 if there are none."""
    grams = [gram for caption in captions for gram in ngrams(caption, n)]
    return len(set(grams)) / len(grams) if grams else 0.0
