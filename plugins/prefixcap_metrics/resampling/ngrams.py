"""Vectorized n-gram counts of tokenized captions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import attrs
import numpy as np

from prefixcap.evaluation.stats.base import Ints

ORDERS = 4


@attrs.frozen(eq=False)
class NgramEntries:
    """How often each n-gram occurs in each caption, sorted by caption and n-gram.

    Attributes:
        caption: The caption of each entry.
        gram: Its n-gram, numbered so that order n comes before order n + 1.
        order: The n-gram's order minus one, 0 to 3.
        count: How often it occurs.
        lengths: (captions), the number of words.
    """

    caption: Ints
    gram: Ints
    order: Ints
    count: Ints
    lengths: Ints


def count_grams(*corpora: Sequence[str]) -> list[NgramEntries]:
    """Count the 1- to 4-grams of captions whose words are joined by spaces.

    Returns:
        The entries of each corpus. Captions are numbered from 0 in each; n-grams have the same
        number in all.
    """
    words = [text.split() for corpus in corpora for text in corpus]
    vocabulary = dict.fromkeys(word for each in words for word in each)
    number = {word: i for i, word in enumerate(vocabulary)}
    flat = np.array([number[word] for each in words for word in each], dtype=np.int64)
    lengths = np.array([len(each) for each in words], dtype=np.int64)
    caption = np.repeat(np.arange(len(words)), lengths)
    # words from each place to the end of its caption, both included
    remaining = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(flat))
    owner, gram, order = _all_orders(flat, caption, remaining, len(vocabulary))
    entries = []
    ends = np.cumsum([len(corpus) for corpus in corpora])
    for start, end in pairwise([0, *ends]):
        own = (owner >= start) & (owner < end)
        entries.append(_entries(owner[own] - start, gram[own], order, lengths[start:end]))
    return entries


def _all_orders(
    flat: Ints, caption: Ints, remaining: Ints, vocabulary: int
) -> tuple[Ints, Ints, Ints]:
    """Return the caption and number of the n-gram at every place, and the order of each number."""
    owners, numbers, orders = [], [], []
    at = flat.copy()  # the n-gram that starts at each place, numbered within its order
    before = 0
    for n in range(ORDERS):
        places = np.flatnonzero(remaining > n)
        if n:
            at[places] = at[places] * vocabulary + flat[places + n]
        distinct, dense = np.unique(at[places], return_inverse=True)
        at[places] = dense
        owners.append(caption[places])
        numbers.append(dense + before)
        orders.append(np.full(len(distinct), n))
        before += len(distinct)
    return np.concatenate(owners), np.concatenate(numbers), np.concatenate(orders)


def _entries(owner: Ints, gram: Ints, order: Ints, lengths: Ints) -> NgramEntries:
    width = max(len(order), 1)
    keys, counts = np.unique(owner * width + gram, return_counts=True)
    grams = keys % width
    return NgramEntries(
        caption=keys // width,
        gram=grams,
        order=order[grams],
        count=counts,
        lengths=lengths,
    )
