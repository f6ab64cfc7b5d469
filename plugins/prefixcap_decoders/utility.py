"""How alike captions are: tables of utilities for minimum Bayes risk decoding."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence

Words = tuple[Hashable, ...]
Table = list[list[float]]

LONGEST = 4
BETA = 1.2


def _grams(words: Words, size: int) -> Counter[Words]:
    return Counter(words[i : i + size] for i in range(len(words) - size + 1))


def _pairs(texts: Sequence[Words], utility: Callable[[Words, Words], float]) -> Table:
    return [[utility(candidate, reference) for reference in texts] for candidate in texts]


def _shared(a: Counter[Words], b: Counter[Words]) -> int:
    few, many = (a, b) if len(a) <= len(b) else (b, a)
    return sum(min(count, many[gram]) for gram, count in few.items() if gram in many)


def ngram(texts: Sequence[Words], weights: Sequence[int]) -> Table:
    """Computes the mean F1 of 1- to 4-grams; of the sizes that either of two texts has.

    Args:
        texts: the candidates, which are the references too.
        weights: how often each was drawn.

    Returns:
        A row for each candidate, with a number for each reference.
    """
    grams = [[_grams(text, size) for size in range(1, LONGEST + 1)] for text in texts]

    def alike(a: Sequence[Counter[Words]], b: Sequence[Counter[Words]]) -> float:
        scores = [
            2 * _shared(x, y) / (x.total() + y.total()) for x, y in zip(a, b, strict=True) if x or y
        ]
        return sum(scores) / len(scores) if scores else 1.0

    return [[alike(a, b) for b in grams] for a in grams]


def bleu(texts: Sequence[Words], weights: Sequence[int]) -> Table:
    """Computes sentence BLEU-4 with one added to the counts of 2- to 4-grams (Lin and Och 2004)."""
    return _pairs(texts, _sentence_bleu)


def _sentence_bleu(candidate: Words, reference: Words) -> float:
    if not candidate or not reference:
        return float(candidate == reference)
    total = 0.0
    for size in range(1, LONGEST + 1):
        found, wanted = _grams(candidate, size), _grams(reference, size)
        extra = int(size > 1)
        right, all_of = _shared(found, wanted) + extra, found.total() + extra
        if not right:
            return 0.0
        total += math.log(right / all_of)
    brevity = min(0.0, 1 - len(reference) / len(candidate))
    return math.exp(total / LONGEST + brevity)


def rouge(texts: Sequence[Words], weights: Sequence[int]) -> Table:
    """Computes ROUGE-L: F of the longest common subsequence, beta 1.2 as COCO has it."""
    return _pairs(texts, _rouge_l)


def _rouge_l(candidate: Words, reference: Words) -> float:
    common = _longest_common(candidate, reference)
    if not common:
        return float(candidate == reference)
    precision, recall = common / len(candidate), common / len(reference)
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def _longest_common(a: Words, b: Words) -> int:
    row = [0] * (len(b) + 1)
    for x in a:
        diagonal = 0
        for j, y in enumerate(b, 1):
            above = row[j]
            row[j] = diagonal + 1 if x == y else max(above, row[j - 1])
            diagonal = above
    return row[-1]


def cider(texts: Sequence[Words], weights: Sequence[int]) -> Table:
    """Computes the mean cosine of n-gram counts weighted by rarity among the samples.

    CIDEr takes document frequencies from a corpus of references, which a decoder does not have;
    the samples stand in for it, and the weight is log(1 + N / df), so that no n-gram has none.
    """
    sizes = []
    for size in range(1, LONGEST + 1):
        grams = [_grams(text, size) for text in texts]
        frequency: Counter[Words] = Counter()
        for counts, weight in zip(grams, weights, strict=True):
            for gram in counts:
                frequency[gram] += weight
        total = sum(weights)
        sizes.append(
            [
                {g: c * math.log(1 + total / frequency[g]) for g, c in counts.items()}
                for counts in grams
            ]
        )
    vectors = list(zip(*sizes, strict=True))
    return [[_mean_cosine(a, b) for b in vectors] for a in vectors]


def _mean_cosine(a: Sequence[Mapping[Words, float]], b: Sequence[Mapping[Words, float]]) -> float:
    scores = [_cosine(x, y) for x, y in zip(a, b, strict=True) if x or y]
    return sum(scores) / len(scores) if scores else 1.0


def _cosine(a: Mapping[Words, float], b: Mapping[Words, float]) -> float:
    dot = sum(value * b[gram] for gram, value in a.items() if gram in b)
    norms = math.hypot(*a.values()) * math.hypot(*b.values())
    return dot / norms if norms else 0.0


UTILITIES: Mapping[str, Callable[[Sequence[Words], Sequence[int]], Table]] = {
    "ngram": ngram,
    "bleu": bleu,
    "rouge": rouge,
    "cider": cider,
}
