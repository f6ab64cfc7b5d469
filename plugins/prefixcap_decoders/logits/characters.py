"""Classes of characters for some phrases, and the parts of UTF-8 that lead to each."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from prefixcap.util.words import Kind, kinds
from prefixcap_decoders.logits.phrase_matcher import Ints, Matcher, decomposed

CODES = 0x110000
BLOCK = 64  # characters that differ in their last byte only
INVALID = -1


class Classes:
    """Divides all characters into those that no matcher can tell apart.

    Args:
        matchers: The matchers.
    """

    def __init__(self, matchers: Sequence[Matcher]) -> None:
        self._matchers = matchers
        self._alphabet = {letter for matcher in matchers for letter in matcher.alphabet}
        # characters outside the alphabet differ in their kind alone
        self._numbers: dict[tuple[str | Kind, ...], int] = {(kind,): kind for kind in Kind}
        self._known: dict[str, int] = {}

    def of(self, text: str) -> list[int]:
        """Return the class of each character of a text."""
        for character in text:
            if character not in self._known:
                self._known[character] = self._class(character)
        return [self._known[character] for character in text]

    def of_all(self) -> Ints:
        """Return the class of every character (0x110000,); -1 for surrogates."""
        every = _all_kinds().copy()
        changed = {*_changed(), *self._alphabet}
        spaces = filter(str.isspace, map(chr, range(0x3001)))
        for character in (*changed, *(spaces if " " in self._alphabet else ())):
            every[ord(character)] = self.of(character)[0]
        every[0xD800:0xE000] = INVALID
        return every

    @property
    def count(self) -> int:
        """K, the number of classes so far."""
        return len(self._numbers)

    def columns(self, number: int) -> Ints:
        """Return the states (S,K) of a matcher after a state and a character of each class."""
        matcher = self._matchers[number]
        columns = []
        for parts in self._numbers:
            states = np.arange(len(matcher.table))
            for part in parts:
                symbol = matcher.symbol(part) if isinstance(part, str) else part
                states = matcher.table[states, symbol]
            columns.append(states)
        return np.stack(columns, 1)

    def _class(self, character: str) -> int:
        parts = [" " if part.isspace() else part for part in decomposed(character)]
        key = tuple(part if part in self._alphabet else kinds(part)[0] for part in parts)
        return self._numbers.setdefault(key, len(self._numbers))


@cache
def _all_kinds() -> Ints:
    return np.array(kinds("".join(map(chr, range(CODES)))), dtype=np.int64)


@cache
def _changed() -> tuple[str, ...]:
    """Return the characters that are others without case or accents."""
    return tuple(c for c in map(chr, range(0x30000)) if decomposed(c) != c)


class Utf8:
    """What the bytes of a character can still become: the states between them.

    Node 0 is between characters. Nodes with the same continuations are one.

    Args:
        classes: The class of every character (0x110000,), -1 for none; None if no token ends within
            a character.

    Attributes:
        rows: (N,64), for each node and next byte the class of the character that it completes;
            -1 if no character has such bytes, and -2 - n for a further node n.
        leads: The node after each byte that begins a character of several bytes.
    """

    def __init__(self, classes: Ints | None) -> None:
        self._numbers: dict[bytes, int] = {b"": 0}
        self._rows = [np.full(BLOCK, INVALID)]
        self.leads: dict[int, int] = {}
        if classes is not None:
            self._build(classes)
        self.rows: Ints = np.stack(self._rows)

    def _build(self, classes: Ints) -> None:
        leaves = np.array([self._node(block) for block in classes.reshape(-1, BLOCK)])
        self.leads = {0xC0 + block: int(leaves[block]) for block in range(2, 32)}
        # bytes that would spell a character longer than need be are no UTF-8
        leaves[:32] = 0
        for lead in range(16):
            self.leads[0xE0 + lead] = self._parent(leaves[lead * BLOCK : (lead + 1) * BLOCK])
        leaves[: 16 * BLOCK] = 0
        middle = np.array([self._parent(each) for each in leaves.reshape(-1, BLOCK)])
        middle = np.concatenate([middle, np.zeros(-len(middle) % BLOCK, dtype=np.int64)])
        for lead, each in enumerate(middle.reshape(-1, BLOCK)):
            self.leads[0xF0 + lead] = self._parent(each)

    def _node(self, row: Ints) -> int:
        if (row == INVALID).all():
            return 0
        found = self._numbers.setdefault(row.tobytes(), len(self._numbers))
        if found == len(self._rows):
            self._rows.append(row)
        return found

    def _parent(self, nodes: Ints) -> int:
        return self._node(np.where(nodes > 0, -2 - nodes, INVALID))

    def resume(self, node: int, head: bytes) -> tuple[int, int]:
        """Continue a character.

        Returns:
            The class of the character if these bytes complete it, or -1; and the node after them
            if it is still incomplete, or 0.
        """
        for place, byte in enumerate(head):
            entry = int(self.rows[node, byte & 0x3F])
            if entry > INVALID:
                return (entry, 0) if place == len(head) - 1 else (INVALID, 0)
            if entry == INVALID:
                return INVALID, 0
            node = -2 - entry
        return INVALID, node
