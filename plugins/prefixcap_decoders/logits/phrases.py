"""Words and phrases as they are written in settings."""

from __future__ import annotations


def alternatives(text: str) -> tuple[str, ...]:
    """Splits "dog|hot dog" into its phrases, in small letters, each word parted by one space.

    Raises:
        ValueError: a phrase has no letter or digit.
    """
    found = tuple(" ".join(part.split()).casefold() for part in text.split("|"))
    for phrase in found:
        if not any(map(is_letter, phrase)):
            raise ValueError(f"{text!r} has a phrase without letters: {phrase!r}")
    return found


def is_letter(symbol: str) -> bool:
    """Says whether a character belongs to a word: a letter, a digit or an underscore."""
    return symbol.isalnum() or symbol == "_"
