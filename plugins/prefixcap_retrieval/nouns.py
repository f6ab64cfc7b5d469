"""Nouns of English captions, found by the words around them, without a tagger."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from prefixcap.errors import PrefixcapError
from prefixcap.util.words import words

_DETERMINERS = "a an the his her their its some two three four five several many"
_BOUNDARIES = (
    "in on at with by near behind under over above below beside between next from into through "
    "across along around against to for during while as is are was were be being has have wearing "
    "holding and or that which who where"
)
DETERMINERS = frozenset(_DETERMINERS.split())
"""After these, a noun or an adjective follows."""
BOUNDARIES = frozenset(_BOUNDARIES.split())
"""Before these, or at the end of a clause, a noun ends; an adjective is followed by a noun.

"of" is none of them, because a group or a pair of something is no entity of its own.
"""
LEAST = 2
"""The number of times that a word must stand as a noun does."""
SHARE = 0.5
"""The share of its occurrences after a determiner in which it must."""


def nouns(captions: Sequence[Sequence[str]], limit: int) -> list[str]:
    """Return the most frequent nouns of captions, the most frequent first.

    A noun is a word that often stands directly between a determiner and a word that ends a noun
    phrase: "a dog on", but never "a black on". Verbs stand after no determiner, and adjectives
    mostly before another word.

    Raises:
        PrefixcapError: If there is none.
    """
    after, ended = Counter[str](), Counter[str]()
    for text in (text for texts in captions for text in texts):
        for clause in re.split(r"[.,;:!?()]", text):
            parts = words(clause)
            for before, word, following in zip(parts, parts[1:], [*parts[2:], ""], strict=False):
                if before in DETERMINERS:
                    after[word] += 1
                    ended[word] += not following or following in BOUNDARIES
    known = DETERMINERS | BOUNDARIES
    found = [
        word
        for word, count in ended.items()
        if count >= LEAST and count >= SHARE * after[word] and word not in known
    ]
    if not found:
        raise PrefixcapError(
            "no noun was found in the training captions, by English determiners: name a file of "
            "entities, as in entities:words=FILE"
        )
    return sorted(found, key=lambda word: (-after[word], word))[:limit]
