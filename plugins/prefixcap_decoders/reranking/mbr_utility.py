"""How alike captions are: tables of utilities for minimum Bayes risk decoding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

Words = tuple[Hashable, ...]
Table = NDArray[np.float64]

LONGEST = 4
BETA = 1.2


def _grams(text: Words, size: int) -> list[Words]:
    return [text[i : i + size] for i in range(len(text) - size + 1)]


def _sizes(texts: Sequence[Words], size: int) -> Table:
    """Counts the n-grams of each text."""
    return np.array([max(len(text) - size + 1, 0) for text in texts], float)


def _shared(texts: Sequence[Words], size: int) -> Table:
    """Counts the n-grams that each pair of texts has in common, as often as both have them.

    The first, second and so on occurrence of an n-gram are told apart, so that the smaller of two
    counts is a product of zeros and ones.
    """
    places: dict[tuple[Words, int], int] = {}
    rows, columns = [], []
    for row, text in enumerate(texts):
        seen: Counter[Words] = Counter()
        for gram in _grams(text, size):
            seen[gram] += 1
            rows.append(row)
            columns.append(places.setdefault((gram, seen[gram]), len(places)))
    has = np.zeros((len(texts), len(places)))
    has[rows, columns] = 1
    return has @ has.T


def _mean_of_sizes(texts: Sequence[Words], alike: Callable[[int], Table]) -> Table:
    """Averages over the sizes that either of two texts has n-grams of; without any, 1."""
    total, count = np.zeros((2, len(texts), len(texts)))
    for size in range(1, LONGEST + 1):
        some = _sizes(texts, size) > 0
        either = some[:, None] | some
        total += np.where(either, alike(size), 0.0)
        count += either
    return np.where(count > 0, total / np.maximum(count, 1), 1.0)


def ngram(texts: Sequence[Words], weights: Sequence[int]) -> Table:
    """Computes the mean F1 of 1- to 4-grams; of the sizes that either of two texts has.

    Args:
        texts: the candidates, which are the references too.
        weights: how often each was drawn.

    Returns:
        A row for each candidate, with a number for each reference.
    """

    def f1(size: int) -> Table:
        number = _sizes(texts, size)
        return 2 * _shared(texts, size) / np.maximum(number[:, None] + number, 1)

    return _mean_of_sizes(texts, f1)


def bleu(texts: Sequence[Words], weights: Sequence[int]) -> Table:
    """Computes sentence BLEU-4 with one added to the counts of 2- to 4-grams (Lin and Och 2004)."""
    length = _sizes(texts, 1)
    total = np.zeros((len(texts), len(texts)))
    for size in range(1, LONGEST + 1):
        extra = int(size > 1)
        right, all_of = _shared(texts, size) + extra, _sizes(texts, size)[:, None] + extra
        with np.errstate(divide="ignore"):  # nothing in common: minus infinity, and so 0 below
            total += np.log(right / np.maximum(all_of, 1))
    brevity = np.minimum(0.0, 1 - length / np.maximum(length[:, None], 1))
    empty = length == 0
    return np.where(empty[:, None] & empty, 1.0, np.exp(total / LONGEST + brevity))


def rouge(texts: Sequence[Words], weights: Sequence[int]) -> Table:
    """Computes ROUGE-L: F of the longest common subsequence, beta 1.2 as COCO has it."""
    length = _sizes(texts, 1)
    common = _longest_common(texts)
    precision, recall = common / np.maximum(length[:, None], 1), common / np.maximum(length, 1)
    both = np.where(common > 0, recall + BETA**2 * precision, 1)
    empty = length == 0
    return np.where(empty[:, None] & empty, 1.0, (1 + BETA**2) * precision * recall / both)


def _longest_common(texts: Sequence[Words]) -> Table:
    """Measures the longest common subsequence of each pair, all pairs at once."""
    numbers: dict[Hashable, int] = {}
    words = np.full((len(texts), max(map(len, texts))), -1)
    for row, text in zip(words, texts, strict=True):
        row[: len(text)] = [numbers.setdefault(word, len(numbers)) for word in text]
    others = np.where(words < 0, -2, words)  # what pads a text is like nothing
    before = np.zeros((words.shape[1] + 1, len(texts), len(texts)))
    for word in words.T:
        after = np.zeros_like(before)
        for j, other in enumerate(others.T):
            longer = np.maximum(before[j + 1], after[j])
            after[j + 1] = np.where(word[:, None] == other, before[j] + 1, longer)
        before = after
    common: Table = before[-1]
    return common


def cider(texts: Sequence[Words], weights: Sequence[int]) -> Table:
    """Computes the mean cosine of n-gram counts weighted by rarity among the samples.

    CIDEr takes document frequencies from a corpus of references, which a decoder does not have;
    the samples stand in for it, and the weight is log(1 + N / df), so that no n-gram has none.
    """

    def cosine(size: int) -> Table:
        counts = [Counter(_grams(text, size)) for text in texts]
        places = {gram: place for place, gram in enumerate(dict.fromkeys(chain(*counts)))}
        vectors = np.zeros((len(texts), len(places)))
        for row, count in zip(vectors, counts, strict=True):
            row[[places[gram] for gram in count]] = list(count.values())
        vectors *= np.log(1 + sum(weights) / (weights @ (vectors > 0)))
        norm = np.linalg.norm(vectors, axis=1)
        products = norm[:, None] * norm
        cosines: Table = vectors @ vectors.T / np.where(products > 0, products, 1)
        return cosines

    return _mean_of_sizes(texts, cosine)


UTILITIES: Mapping[str, Callable[[Sequence[Words], Sequence[int]], Table]] = {
    "ngram": ngram,
    "bleu": bleu,
    "rouge": rouge,
    "cider": cider,
}
