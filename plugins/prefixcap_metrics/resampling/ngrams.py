"""N-grams of tokenised captions, counted all at once."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np

from prefixcap.evaluation.stats.base import Ints

ORDERS = 4


@attrs.frozen(eq=False)
class Entries:
    """How often each n-gram stands in each caption, sorted by caption and n-gram.

    Attributes:
        captions: how many captions there are.
        caption: each entry's caption.
        gram: its n-gram, a number; those of order n all come before those of order n + 1.
        order: the n-gram's order less one, 0 to 3.
        count: how often it stands there.
        lengths: (captions), the number of words of each.
    """

    captions: int
    caption: Ints
    gram: Ints
    order: Ints
    count: Ints
    lengths: Ints

    def bigrams(self) -> Ints:
        """Returns (captions), the number of 2-grams of each caption."""
        return np.maximum(self.lengths - 1, 0)


def count_grams(*corpora: Sequence[str]) -> list[Entries]:
    """Counts the 1- to 4-grams of captions whose words are joined by spaces.

    Returns:
        Each corpus's entries, its captions numbered from 0; n-grams are numbered alike in all.
    """
    words = [text.split() for corpus in corpora for text in corpus]
    vocabulary = dict.fromkeys(word for each in words for word in each)
    number = {word: i for i, word in enumerate(vocabulary)}
    flat = np.array([number[word] for each in words for word in each], dtype=np.int64)
    lengths = np.array([len(each) for each in words], dtype=np.int64)
    caption = np.repeat(np.arange(len(words)), lengths)
    # how many words stand from here to the caption's end, this one included
    left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(flat))
    owner, gram, order = _all_orders(flat, caption, left, len(vocabulary))
    found = []
    start = 0
    for corpus in corpora:
        end = start + len(corpus)
        own = (owner >= start) & (owner < end)
        found.append(_entries(owner[own] - start, gram[own], order, lengths[start:end]))
        start = end
    return found


def _all_orders(flat: Ints, caption: Ints, left: Ints, vocabulary: int) -> tuple[Ints, Ints, Ints]:
    """Numbers the n-grams at every place: their captions, their numbers, and numbers' orders."""
    owners, numbers, orders = [], [], []
    at = flat.copy()  # the n-gram that begins at each place, numbered within its order
    before = 0
    for n in range(ORDERS):
        places = np.flatnonzero(left > n)
        if n:
            at[places] = at[places] * vocabulary + flat[places + n]
        different, dense = np.unique(at[places], return_inverse=True)
        at[places] = dense
        owners.append(caption[places])
        numbers.append(dense + before)
        orders.append(np.full(len(different), n))
        before += len(different)
    return np.concatenate(owners), np.concatenate(numbers), np.concatenate(orders)


def _entries(owner: Ints, gram: Ints, order: Ints, lengths: Ints) -> Entries:
    width = max(len(order), 1)
    keys, counts = np.unique(owner * width + gram, return_counts=True)
    grams = keys % width
    return Entries(
        captions=len(lengths),
        caption=keys // width,
        gram=grams,
        order=order[grams],
        count=counts,
        lengths=lengths,
    )
