"""N-grams of tokenised captions."""

from __future__ import annotations

from collections import Counter

ORDERS = 4

Grams = Counter[tuple[str, ...]]


def grams(caption: str) -> Grams:
    """Counts the 1- to 4-grams of a caption whose words are joined by spaces."""
    words = caption.split()
    return Counter(
        tuple(words[i : i + n]) for n in range(1, ORDERS + 1) for i in range(len(words) - n + 1)
    )
