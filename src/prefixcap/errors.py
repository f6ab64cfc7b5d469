"""Errors that are sentences: what was asked, what was known, the nearest match, the cure."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class PrefixcapError(Exception):
    """Bad input, said in one sentence; the shell prints it and exits with status 2."""


def nearest(value: str, known: Iterable[str]) -> str:
    """Says which known names there are and which one was probably meant.

    Args:
        value: the name that was asked for.
        known: the names that exist.

    Returns:
        A clause that starts with a semicolon, or "" where nothing is known.
    """
    names = sorted(known)
    if not names:
        return ""
    close = get_close_matches(value, names, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ";"
    return f"{hint} known: {', '.join(names)}"
