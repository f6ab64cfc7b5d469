"""The error for bad input, and hints for unknown names."""

from __future__ import annotations

from collections.abc import Iterable

MOST_SHOWN = 10


class PrefixcapError(Exception):
    """Bad input, described in one sentence; the shell prints it and exits with status 2."""


def nearest(value: str, known: Iterable[str]) -> str:
    """Return a hint for an unknown name: the closest known name, and up to ten known names.

    Args:
        value: The unknown name.
        known: The names that exist.

    Returns:
        A clause that starts with a semicolon; "" if no name is known.
    """
    from difflib import get_close_matches

    names = sorted(known)
    if not names:
        return ""
    close = get_close_matches(value, names, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ";"
    more = f" and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else ""
    return f"{hint} known: {', '.join(names[:MOST_SHOWN])}{more}"
