"""Automata over characters that find phrases as whole words in a text."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from prefixcap_decoders.logits.settings import is_letter

Ints = NDArray[np.int64]

OTHER_LETTER, OTHER_MARK = 0, 1


@attrs.frozen
class _State:
    # whether the last character was a letter, the places reached as (phrase, place), and whether
    # a phrase is complete unless a letter follows
    letter: bool = False
    places: frozenset[tuple[int, int]] = frozenset()
    complete: bool = False
    matched: bool = False


_FOUND = _State(matched=True)


class Matcher:
    """Finds any of several phrases as whole words, character by character.

    A phrase counts only if no letter, digit or underscore is next to it; case is ignored: "red" is
    in "A red-haired man", not in "reddish". This is the automaton of Knuth, Morris and Pratt 1977
    for several phrases at once, extended by word boundaries.

    Args:
        phrases: Lower-case phrases.

    Attributes:
        table: (S,A) int64, next state by state and symbol; texts begin in state 0.
        matched: (S) bool, whether a phrase was found; such a state is never left.
        complete: (S) bool, whether a phrase is found if the text ends here.
    """

    def __init__(self, phrases: Sequence[str]) -> None:
        self._phrases = tuple(phrases)
        alphabet = sorted({letter for phrase in phrases for letter in phrase})
        self._symbols = {letter: number for number, letter in enumerate(alphabet, OTHER_MARK + 1)}
        numbers = {_State(): 0}
        rows: list[list[int]] = []
        for state in (queue := [_State()]):
            row: list[int] = []
            # "x" and "." represent all letters and marks that are in no phrase
            for symbol in (*"x.", *alphabet):
                after = self._after(state, symbol, other=len(row) <= OTHER_MARK)
                if after not in numbers:
                    numbers[after] = len(numbers)
                    queue.append(after)
                row.append(numbers[after])
            rows.append(row)
        self.table: Ints = np.array(rows, dtype=np.int64)
        self.matched = np.array([state.matched for state in queue])
        self.complete = np.array([state.complete or state.matched for state in queue])

    def symbols(self, text: str) -> list[int]:
        """Return the automaton's symbols of a text."""
        return [self._symbol(letter) for letter in text.casefold()]

    def _symbol(self, letter: str) -> int:
        letter = " " if letter.isspace() else letter
        return self._symbols.get(letter, OTHER_LETTER if is_letter(letter) else OTHER_MARK)

    def _after(self, state: _State, symbol: str, *, other: bool) -> _State:
        letter = is_letter(symbol)
        if state.matched or (state.complete and not letter):
            return _FOUND
        places = set()
        if not other:
            starts = {(number, 0) for number in range(len(self._phrases))}
            for number, place in state.places | starts:
                phrase = self._phrases[number]
                boundary = place or not (letter and state.letter)
                if boundary and phrase[place] == symbol:
                    places.add((number, place + 1))
        ended = {(n, place) for n, place in places if place == len(self._phrases[n])}
        if ended and not letter:
            return _FOUND
        return _State(letter, frozenset(places - ended), bool(ended))
