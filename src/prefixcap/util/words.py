"""Words of texts in any script: what counts as a letter, a word and a character."""

from __future__ import annotations

from collections.abc import Hashable
from enum import IntEnum
from functools import cache
from typing import Any, TypeVar
from unicodedata import normalize

# scripts that do not separate words; Complex_Context has Thai, Lao, Khmer, Burmese and their kin
_UNSPACED = (
    r"[\p{L}&&[\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\u30fc\p{Line_Break=Complex_Context}]]"
)
_LETTER = r"[\p{L}\p{N}_]"
# combining marks and joiners belong to the letter that they follow
_EXTENDER = r"[\p{M}\u200c\u200d]"
_WORD = rf"{_LETTER}(?:{_LETTER}|{_EXTENDER})*"
_SPACED = _WORD.replace(_LETTER, f"[{_LETTER}--{_UNSPACED}]")

MOST_MARKS = 30
LONGEST_WORD = 6  # letters on average

T = TypeVar("T", bound=Hashable)


class Kind(IntEnum):
    """What a character is for the words around it; `UNSPACED` letters need no spaces."""

    SIGN = 0
    LETTER = 1
    UNSPACED = 2
    EXTENDER = 3


def words(text: str) -> list[str]:
    """Return a text's words in lower case, without punctuation; "man's" is one word.

    Texts are compared in the normalization form C of Unicode, so that it does not matter how an
    accented letter is encoded. A run of letters without spaces is one word, also in scripts that
    do not separate words.
    """
    found: list[str] = _pattern(f"{_WORD}(?:['’-]{_WORD})*").findall(_normalized(text))
    return found


def characters(text: str) -> list[str]:
    """Return the words of a text like `words`, but split scripts that do not separate them.

    Each letter of Chinese, Japanese, Thai, Lao, Khmer or Burmese is one item, with its marks.
    """
    pattern = f"{_UNSPACED}{_EXTENDER}*|{_SPACED}(?:['’-]{_SPACED})*"
    found: list[str] = _pattern(pattern).findall(_normalized(text))
    return found


def ngrams(words: tuple[T, ...], n: int) -> list[tuple[T, ...]]:
    """Return the n-grams of a text in order, repeated ones included."""
    return [words[i : i + n] for i in range(len(words) - n + 1)]


def is_unsegmented(text: str) -> bool:
    """Return whether a text is mostly in scripts without spaces, and not divided into words."""
    letters = len(_pattern(_UNSPACED).findall(text))
    if 2 * letters <= len(_pattern(_LETTER).findall(text)):
        return False
    parts = sum(_pattern(_UNSPACED).search(part) is not None for part in text.split())
    return letters > (LONGEST_WORD * parts if parts > 1 else 1)


def is_letter(character: str) -> bool:
    """Return whether a character can begin a word: a letter, a digit or an underscore."""
    return _pattern(_LETTER).match(character) is not None


def kinds(text: str) -> list[Kind]:
    """Return the kind of each character."""
    found = [Kind.SIGN] * len(text)
    patterns = (Kind.LETTER, _LETTER), (Kind.UNSPACED, _UNSPACED), (Kind.EXTENDER, _EXTENDER)
    for kind, pattern in patterns:
        for match in _pattern(f"{pattern}+").finditer(text):
            found[match.start() : match.end()] = [kind] * (match.end() - match.start())
    return found


def _normalized(text: str) -> str:
    if text.isascii():
        return text.lower()
    # Unicode's Stream-Safe Text Process: sorting long runs of marks would take quadratic time
    marks = rf"(\p{{M}}{{{MOST_MARKS}}})(?=\p{{M}})"
    return normalize("NFC", _pattern(marks).sub("\\1\u034f", text)).lower()


@cache
def _pattern(text: str) -> Any:
    # imported here, because settings of decoders are read without it
    import regex

    return regex.compile(text, regex.V1)
