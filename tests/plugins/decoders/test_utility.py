"""MBR's utilities against their definitions, one pair of texts at a time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefixcap_decoders.reranking.mbr_utility import UTILITIES, Words

TEXTS = st.lists(
    st.lists(st.sampled_from("abcd"), max_size=7).map(tuple), min_size=1, max_size=6, unique=True
)


def grams(words: Words, size: int) -> Counter[Words]:
    return Counter(words[i : i + size] for i in range(len(words) - size + 1))


def ngram(a: Words, b: Words) -> float:
    result = [
        2 * (x & y).total() / (x.total() + y.total())
        for x, y in ((grams(a, size), grams(b, size)) for size in range(1, 5))
        if x or y
    ]
    return sum(result) / len(result) if result else 1.0


def bleu(a: Words, b: Words) -> float:
    if not a or not b:
        return float(a == b)
    precisions = []
    for size in range(1, 5):
        x, y, more = grams(a, size), grams(b, size), int(size > 1)
        precisions.append(((x & y).total() + more) / (x.total() + more))
    return math.prod(precisions) ** 0.25 * math.exp(min(0, 1 - len(b) / len(a)))


@cache
def common(a: Words, b: Words) -> int:
    if not a or not b:
        return 0
    if a[0] == b[0]:
        return 1 + common(a[1:], b[1:])
    return max(common(a[1:], b), common(a, b[1:]))


def rouge(a: Words, b: Words) -> float:
    if not common(a, b):
        return float(a == b)
    precision, recall = common(a, b) / len(a), common(a, b) / len(b)
    return (1 + 1.2**2) * precision * recall / (recall + 1.2**2 * precision)


@pytest.mark.parametrize("definition", [ngram, bleu, rouge])
@given(texts=TEXTS)
def test_utilities_are_their_definitions(
    definition: Callable[[Words, Words], float], texts: list[Words]
) -> None:
    table = UTILITIES[definition.__name__](texts, [1] * len(texts))
    for row, candidate in zip(table, texts, strict=True):
        assert row == pytest.approx([definition(candidate, text) for text in texts])


@given(texts=TEXTS, data=st.data())
def test_cider_is_the_mean_cosine_of_weighted_counts(
    texts: list[Words], data: st.DataObject
) -> None:
    weights = data.draw(st.lists(st.integers(1, 3), min_size=len(texts), max_size=len(texts)))

    def weighted(text: Words, size: int) -> dict[Words, float]:
        def often(gram: Words) -> int:
            return sum(w for w, t in zip(weights, texts, strict=True) if gram in grams(t, size))

        return {g: c * math.log(1 + sum(weights) / often(g)) for g, c in grams(text, size).items()}

    table = UTILITIES["cider"](texts, weights)
    for i, a in enumerate(texts):
        for j, b in enumerate(texts):
            cosines = []
            for size in range(1, 5):
                x, y = weighted(a, size), weighted(b, size)
                dot = sum(x[gram] * y[gram] for gram in x.keys() & y.keys())
                norms = math.hypot(*x.values()) * math.hypot(*y.values())
                if x or y:
                    cosines.append(dot / norms if norms else 0.0)
            assert table[i, j] == pytest.approx(sum(cosines) / len(cosines) if cosines else 1.0)
