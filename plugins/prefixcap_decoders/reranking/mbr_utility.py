"""Similarities of captions, as tables of N candidates by N references, for minimum Bayes risk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from prefixcap.util.words import ngrams

Words = tuple[Hashable, ...]
Table = NDArray[np.float64]

LONGEST = 4
BETA = 1.2


def _counts(texts: Sequence[Words], size: int) -> Table:
    """Return the number of n-grams (N) of each text."""
    return np.array([max(len(text) - size + 1, 0) for text in texts], float)


def _shared(texts: Sequence[Words], size: int) -> Table:
    """Return the number of n-grams (N,N) that each pair of texts shares, with multiplicity."""
    # the first, second, ... occurrences of an n-gram are columns of their own, so that the
    # minimum of two counts is a product of zeros and ones
    columns: dict[tuple[Words, int], int] = {}
    entries = []
    for row, text in enumerate(texts):
        seen: Counter[Words] = Counter()
        for ngram in ngrams(text, size):
            seen[ngram] += 1
            entries.append((row, columns.setdefault((ngram, seen[ngram]), len(columns))))
    occurs = np.zeros((len(texts), len(columns)))
    for row, column in entries:
        occurs[row, column] = 1
    return occurs @ occurs.T


def _mean_over_sizes(texts: Sequence[Words], similarity: Callable[[int], Table]) -> Table:
    """Average over the n-gram sizes that either text has; 1 for two texts without any."""
    total, count = np.zeros((2, len(texts), len(texts)))
    for size in range(1, LONGEST + 1):
        has = _counts(texts, size) > 0
        either = has[:, None] | has
        total += np.where(either, similarity(size), 0.0)
        count += either
    return np.where(count > 0, total / np.maximum(count, 1), 1.0)


def ngram_f1(texts: Sequence[Words], weights: Sequence[int]) -> Table:
    """Return the mean F1 (N,N) of 1- to 4-grams.

    Args:
        texts: N candidates, which are also the references.
        weights: How often each occurs.
    """

    def f1(size: int) -> Table:
        number = _counts(texts, size)
        return 2 * _shared(texts, size) / np.maximum(number[:, None] + number, 1)

    return _mean_over_sizes(texts, f1)


def bleu(texts: Sequence[Words], weights: Sequence[int]) -> Table:
    """Return sentence BLEU-4 (N,N) with add-one smoothing of 2- to 4-grams (Lin and Och 2004)."""
    length = _counts(texts, 1)
    total = np.zeros((len(texts), len(texts)))
    for size in range(1, LONGEST + 1):
        extra = int(size > 1)
        matches, number = _shared(texts, size) + extra, _counts(texts, size)[:, None] + extra
        with np.errstate(divide="ignore"):  # no match: log 0 = -inf, so the score becomes 0
            total += np.log(matches / np.maximum(number, 1))
    brevity = np.minimum(0.0, 1 - length / np.maximum(length[:, None], 1))
    empty = length == 0
    return np.where(empty[:, None] & empty, 1.0, np.exp(total / LONGEST + brevity))


def rouge(texts: Sequence[Words], weights: Sequence[int]) -> Table:
    """Return ROUGE-L (N,N): F of the longest common subsequence, with beta 1.2 as in COCO."""
    length = _counts(texts, 1)
    common = _longest_common(texts)
    precision, recall = common / np.maximum(length[:, None], 1), common / np.maximum(length, 1)
    denominator = np.where(common > 0, recall + BETA**2 * precision, 1)
    empty = length == 0
    return np.where(empty[:, None] & empty, 1.0, (1 + BETA**2) * precision * recall / denominator)


def _longest_common(texts: Sequence[Words]) -> Table:
    """Return the length (N,N) of the longest common subsequence, for all pairs at once."""
    numbers: dict[Hashable, int] = {}
    words = np.full((len(texts), max(map(len, texts))), -1)
    for row, text in zip(words, texts, strict=True):
        row[: len(text)] = [numbers.setdefault(word, len(numbers)) for word in text]
    others = np.where(words < 0, -2, words)  # padding matches nothing
    # previous[j]: the length for the words so far and the first j words of the other text, (N, N)
    previous = np.zeros((words.shape[1] + 1, len(texts), len(texts)))
    for word in words.T:
        current = np.zeros_like(previous)
        for j, other in enumerate(others.T):
            longer = np.maximum(previous[j + 1], current[j])
            current[j + 1] = np.where(word[:, None] == other, previous[j] + 1, longer)
        previous = current
    common: Table = previous[-1]
    return common


def cider(texts: Sequence[Words], weights: Sequence[int]) -> Table:
    """Return the mean cosine (N,N) of n-gram counts, weighted by rarity among all captions.

    CIDEr takes document frequencies from a corpus of references, which a decoder does not have. The
    captions replace it, with weights log(1 + N / df), so that no n-gram has weight 0.
    """

    def cosine(size: int) -> Table:
        counts = [Counter(ngrams(text, size)) for text in texts]
        columns = {ngram: column for column, ngram in enumerate(dict.fromkeys(chain(*counts)))}
        vectors = np.zeros((len(texts), len(columns)))
        for row, count in zip(vectors, counts, strict=True):
            row[[columns[ngram] for ngram in count]] = list(count.values())
        vectors *= np.log(1 + sum(weights) / (weights @ (vectors > 0)))
        norm = np.linalg.norm(vectors, axis=1)
        products = norm[:, None] * norm
        cosines: Table = vectors @ vectors.T / np.where(products > 0, products, 1)
        return cosines

    return _mean_over_sizes(texts, cosine)


UTILITIES: Mapping[str, Callable[[Sequence[Words], Sequence[int]], Table]] = {
    "ngram": ngram_f1,
    "bleu": bleu,
    "rouge": rouge,
    "cider": cider,
}
