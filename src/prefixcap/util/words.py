"""Words of texts in any script: what counts as a letter, a word and a character."""

from __future__ import annotations

from collections.abc import Hashable
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

T = TypeVar("T", bound=Hashable)


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


def is_letter(character: str) -> bool:
    """Return whether a character can begin a word: a letter, a digit or an underscore."""
    return _pattern(_LETTER).match(character) is not None


def is_extender(character: str) -> bool:
    """Return whether a character belongs to the letter before it: a combining mark or a joiner."""
    return _pattern(_EXTENDER).match(character) is not None


def is_unspaced(character: str) -> bool:
    """Return whether a character is a letter of a script that does not separate words."""
    return _pattern(_UNSPACED).match(character) is not None


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
