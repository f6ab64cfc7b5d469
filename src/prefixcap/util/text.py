"""Text from outside, such as captions, image ids and paths, made safe to show."""

from __future__ import annotations

import re

# control characters of C0 and C1, line and paragraph separators, every character with the Unicode
# property Bidi_Control, and surrogates, which no encoding can write
_HIDDEN = "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_IN_LINES = re.compile(f"[{_HIDDEN}]")
_IN_A_LINE = re.compile(f"[\t\n{_HIDDEN}]")

LONGEST, LONGEST_WORD = 5_000, 2_000
"""Characters of a text, and of one of its words, that its first 77 tokens can have."""


def visible(text: object) -> str:
    r"""Return a text in one line, with escapes such as `\x1b` for what a terminal would obey.

    Control characters can rewrite what was printed before or send commands to the terminal, and
    bidirectional controls show a text in another order than it has. Joiners, which words and emoji
    need, are kept.
    """
    return _IN_A_LINE.sub(_escape, str(text))


def visible_lines(text: str) -> str:
    """Return a text like `visible`, but keep its line breaks and tabs."""
    return _IN_LINES.sub(_escape, text)


def truncated(text: str, most: int) -> str:
    """Return a text of at most `most` characters, which ends in an ellipsis if it was longer."""
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def beginning(text: str) -> str:
    """Return the part of a text that CLIP's 77 tokens can have.

    Its tokenizer reads the whole text, and takes quadratic time for a long word.
    """
    if len(text) <= LONGEST_WORD:
        return text
    return " ".join(word[:LONGEST_WORD] for word in text[:LONGEST].split())


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")
