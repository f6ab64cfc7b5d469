"""Whole words in texts, as automata over characters: has a text one of some phrases yet?"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from prefixcap_decoders.logits.phrases import is_letter

Ints = NDArray[np.int64]

OTHER_LETTER, OTHER_MARK = 0, 1


@attrs.frozen
class _State:
    # whether the last character was a letter, the places reached in each phrase, and whether a
    # phrase is complete unless a letter follows
    letter: bool = False
    places: frozenset[tuple[int, int]] = frozenset()
    whole: bool = False
    found: bool = False


_FOUND = _State(found=True)


class Matcher:
    """Reads a text character by character until it has one of some phrases as whole words.

    A phrase counts where no letter, digit or underscore stands next to it, in small letters or
    capitals: "red" is in "A red-haired man" and not in "reddish". It is the automaton of Knuth,
    Morris and Pratt 1977 for several phrases at once, with the words' edges.

    Args:
        phrases: the phrases, in small letters.

    Attributes:
        table: (S,A) int64, the state that follows each state and symbol; a text begins in state 0.
        found: (S) bool, whether a phrase was found; such a state is never left.
        whole: (S) bool, whether a phrase would be found if the text ended here.
    """

    def __init__(self, phrases: Sequence[str]) -> None:
        self._phrases = tuple(phrases)
        known = sorted({letter for phrase in phrases for letter in phrase})
        self._symbols = {letter: number for number, letter in enumerate(known, OTHER_MARK + 1)}
        numbers = {_State(): 0}
        rows: list[list[int]] = []
        for state in (waiting := [_State()]):
            row: list[int] = []
            for symbol in (*"x.", *known):
                # the first two stand for all letters and all marks that no phrase has
                other = len(row) <= OTHER_MARK
                after = self._after(state, symbol, other)
                if after not in numbers:
                    numbers[after] = len(numbers)
                    waiting.append(after)
                row.append(numbers[after])
            rows.append(row)
        self.table: Ints = np.array(rows, dtype=np.int64)
        self.found = np.array([state.found for state in waiting])
        self.whole = np.array([state.whole or state.found for state in waiting])

    def symbols(self, text: str) -> list[int]:
        """Turns a text into the automaton's symbols."""
        return [self._symbol(letter) for letter in text.casefold()]

    def _symbol(self, letter: str) -> int:
        letter = " " if letter.isspace() else letter
        return self._symbols.get(letter, OTHER_LETTER if is_letter(letter) else OTHER_MARK)

    def _after(self, state: _State, symbol: str, other: bool) -> _State:
        letter = is_letter(symbol)
        if state.found or (state.whole and not letter):
            return _FOUND
        places = set()
        if not other:
            begins = {(number, 0) for number in range(len(self._phrases))}
            for number, place in state.places | begins:
                phrase = self._phrases[number]
                edge = place or not (letter and state.letter)
                if edge and phrase[place] == symbol:
                    places.add((number, place + 1))
        ended = {(n, place) for n, place in places if place == len(self._phrases[n])}
        if ended and not letter:
            return _FOUND
        return _State(letter, frozenset(places - ended), bool(ended))
