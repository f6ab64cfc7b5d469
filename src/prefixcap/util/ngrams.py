"""The n-grams of a text."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TypeVar

T = TypeVar("T", bound=Hashable)


def ngrams(words: tuple[T, ...], n: int) -> list[tuple[T, ...]]:
    """Return the n-grams of a text in order, repeated ones included."""
    return [words[i : i + n] for i in range(len(words) - n + 1)]
