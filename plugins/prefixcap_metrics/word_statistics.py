"""What can be read off the predictions alone: their length, and how much they differ."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from statistics import fmean, pstdev

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.metric import Metric, Record, Scores

WORD = re.compile(r"\w+(?:['’-]\w+)*")


def words(text: str) -> list[str]:
    """Returns a text's words in lower case, without punctuation; "man's" is one word."""
    return WORD.findall(text.lower())


class LengthMetric(Metric):
    """The number of words of the predictions: `Length` (mean) and `Length_std`."""

    def score(self, records: Sequence[Record]) -> Scores:
        """Counts words.

        Raises:
            PrefixcapError: there are no records.
        """
        lengths = [len(words(text)) for text in _predictions(records)]
        return Scores(
            values={"Length": fmean(lengths), "Length_std": pstdev(lengths)},
            per_image={"Length": tuple(map(float, lengths))},
        )


class DistinctMetric(Metric):
    """How much the predictions differ from one another.

    `Distinct_n` is the number of different n-grams over the number of all n-grams of all
    predictions, `Vocabulary` the number of different words, and `Distinct_captions` the share of
    different predictions. All of them fall as the corpus grows: compare equal numbers of images.
    Li et al. 2016 divide by the number of words instead: the same for n = 1, and lower by the
    factor 1 - (n - 1) / mean length beyond, where no caption is shorter than n - 1 words.

    Args:
        max_n: the longest n-grams to count.
    """

    def __init__(self, max_n: int) -> None:
        self._max_n = max_n

    def score(self, records: Sequence[Record]) -> Scores:
        """Counts n-grams.

        Raises:
            PrefixcapError: there are no records.
        """
        captions = [tuple(words(text)) for text in _predictions(records)]
        values = {f"Distinct_{n}": distinct(captions, n) for n in range(1, self._max_n + 1)}
        values["Vocabulary"] = float(len({word for caption in captions for word in caption}))
        values["Distinct_captions"] = len(set(captions)) / len(captions)
        return Scores(values=values)


def _predictions(records: Sequence[Record]) -> list[str]:
    if not records:
        raise PrefixcapError("there is nothing to score: no records")
    return [record.prediction for record in records]


class RepetitionMetric(Metric):
    """How much a prediction repeats itself.

    `Rep_n` is 1 minus the number of different n-grams over the number of all n-grams of a
    prediction, and `Rep_consecutive` 1 where a word or a phrase of up to `max_n` words follows
    itself at once, else 0; all are means over images.

    Args:
        max_n: the longest n-grams to count.
    """

    def __init__(self, max_n: int) -> None:
        self._max_n = max_n

    def score(self, records: Sequence[Record]) -> Scores:
        """Counts n-grams.

        Raises:
            PrefixcapError: there are no records.
        """
        captions = [tuple(words(text)) for text in _predictions(records)]
        per_image = {
            f"Rep_{n}": tuple(_repeated(caption, n) for caption in captions)
            for n in range(2, self._max_n + 1)
        }
        per_image["Rep_consecutive"] = tuple(
            float(any(_stutters(caption, n) for n in range(1, self._max_n + 1)))
            for caption in captions
        )
        return Scores(values={k: fmean(v) for k, v in per_image.items()}, per_image=per_image)


def _repeated(caption: tuple[str, ...], n: int) -> float:
    return 1 - distinct([caption], n) if len(caption) >= n else 0.0


def _stutters(caption: tuple[str, ...], n: int) -> bool:
    ends = range(2 * n, len(caption) + 1)
    return any(caption[i - 2 * n : i - n] == caption[i - n : i] for i in ends)


def distinct(captions: Sequence[tuple[str, ...]], n: int) -> float:
    """Returns the number of different n-grams over that of all; 0 where there are none."""
    found = [gram for caption in captions for gram in grams(caption, n)]
    return len(set(found)) / len(found) if found else 0.0


def grams(caption: tuple[str, ...], n: int) -> Iterator[tuple[str, ...]]:
    """Gives a caption's n-grams in their order."""
    return (caption[i : i + n] for i in range(len(caption) - n + 1))
