"""Names of scores that are not the usual ones."""

from __future__ import annotations

from prefixcap.interfaces.metric import Scores

WORDS = "words"
PTB = "ptb"
CHARACTERS = "characters"


def label(tokenizer: str) -> str:
    """Return the suffix of the names of scores by a tokenizer: none for the usual one."""
    return f"[{CHARACTERS}]" if tokenizer == CHARACTERS else ""


def labelled(scores: Scores, tokenizer: str) -> Scores:
    """Return scores whose names have the tokenizer's suffix."""
    suffix = label(tokenizer)
    return Scores(
        values={f"{name}{suffix}": value for name, value in scores.values.items()},
        per_image={f"{name}{suffix}": each for name, each in scores.per_image.items()},
    )
