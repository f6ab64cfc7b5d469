"""Automata over characters that find phrases as whole words in a text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, islice, permutations, product
from unicodedata import combining, normalize

import attrs
import numpy as np
from numpy.typing import NDArray

from prefixcap.util.words import Kind, kinds

Ints = NDArray[np.int64]
MOST_ORDERS = 64


def decomposed(text: str) -> str:
    """Return a text without case, with accents as characters of their own."""
    return normalize("NFD", normalize("NFD", text).casefold())


@attrs.frozen
class _State:
    # the kind of the last letter or sign, the places reached as (phrase, place), and whether a
    # phrase is complete unless a letter follows
    last: Kind = Kind.SIGN
    places: frozenset[tuple[int, int]] = frozenset()
    complete: bool = False
    matched: bool = False


_FOUND = _State(matched=True)


class Matcher:
    """Finds any of several phrases as whole words, character by character.

    A phrase counts only if no letter, digit or underscore is next to it; case is ignored: "red" is
    in "A red-haired man", not in "reddish". Combining marks and joiners belong to their letter, in
    composed and decomposed form alike. In scripts that do not separate words, such as Chinese, a
    phrase counts wherever it stands. This is the automaton of Knuth, Morris and Pratt 1977 for
    several phrases at once, extended by word boundaries.

    Args:
        phrases: The phrases.

    Attributes:
        table: (S,A) int64, next state by state and symbol; texts begin in state 0.
        matched: (S) bool, whether a phrase was found; such a state is never left.
        complete: (S) bool, whether a phrase is found if the text ends here.
    """

    def __init__(self, phrases: Sequence[str]) -> None:
        self._phrases = tuple(dict.fromkeys(form for each in phrases for form in _forms(each)))
        alphabet = sorted({letter for phrase in self._phrases for letter in phrase})
        self._symbols = {letter: number for number, letter in enumerate(alphabet, len(Kind))}
        # the symbol of a character that is in no phrase is its kind
        others = [(kind, "") for kind in Kind]
        symbols = [*others, *zip(kinds("".join(alphabet)), alphabet, strict=True)]
        numbers = {_State(): 0}
        rows: list[list[int]] = []
        for state in (queue := [_State()]):
            row: list[int] = []
            for kind, letter in symbols:
                after = self._after(state, kind, letter)
                if after not in numbers:
                    numbers[after] = len(numbers)
                    queue.append(after)
                row.append(numbers[after])
            rows.append(row)
        self.table: Ints = np.array(rows, dtype=np.int64)
        self.matched = np.array([state.matched for state in queue])
        self.complete = np.array([state.complete or state.matched for state in queue])

    @property
    def alphabet(self) -> Sequence[str]:
        """The characters of the phrases."""
        return [*self._symbols]

    def symbol(self, character: str) -> int:
        """Return the automaton's symbol of a decomposed character."""
        character = " " if character.isspace() else character
        found = self._symbols.get(character)
        return kinds(character)[0] if found is None else found

    def _after(self, state: _State, kind: Kind, letter: str) -> _State:
        boundary = _is_boundary(state.last, kind)
        if state.matched or (state.complete and boundary):
            return _FOUND
        places = set()
        if letter:
            starts = {(number, 0) for number in range(len(self._phrases))}
            for number, place in state.places | starts:
                if (place or boundary) and self._phrases[number][place] == letter:
                    places.add((number, place + 1))
        ended = {(n, place) for n, place in places if place == len(self._phrases[n])}
        if ended and kind is Kind.SIGN:
            return _FOUND
        last = state.last if kind is Kind.EXTENDER else kind
        return _State(last, frozenset(places - ended), bool(ended))


def _is_boundary(before: Kind, after: Kind) -> bool:
    if after is Kind.EXTENDER:
        return False
    return Kind.UNSPACED in (before, after) or not (before and after)


def _forms(phrase: str) -> Iterator[str]:
    """Yield a decomposed phrase with the marks of each letter in every order that means the same.

    Normalization would sort them, but a caption is read character by character.
    """
    runs = ["".join(run) for _, run in groupby(decomposed(phrase), key=lambda c: combining(c) > 0)]
    choices = [
        [
            form
            for form in map("".join, islice(permutations(run), MOST_ORDERS))
            if normalize("NFD", form) == run
        ]
        if combining(run[0])
        else [run]
        for run in runs
    ]
    yield from map("".join, islice(product(*choices), MOST_ORDERS))
