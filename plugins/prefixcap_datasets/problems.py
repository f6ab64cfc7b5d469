"""What is wrong with single images: an error, or noted while a data set is checked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from prefixcap.errors import PrefixcapError

REPEATED, IN_TWO_SPLITS = "repeated_ids", "in_two_splits"
WITHOUT_CAPTIONS, EMPTY_CAPTIONS = "without_captions", "empty_captions"
OUTSIDE = "outside_the_folder"

Noted = dict[tuple[str, str], str]
"""Sentences by their kind and what they are about: an image's id, or a place in a file."""

_noted: ContextVar[Noted | None] = ContextVar("noted", default=None)


@contextmanager
def noting() -> Iterator[Noted]:
    """Note, instead of raising, what is wrong with single images; yield what is noted."""
    noted: Noted = {}
    token = _noted.set(noted)
    try:
        yield noted
    finally:
        _noted.reset(token)


def problem(kind: str, about: str, sentence: str) -> None:
    """Note what is wrong with an image, the first sentence of a kind.

    Raises:
        PrefixcapError: With the sentence, unless problems are noted.
    """
    noted = _noted.get()
    if noted is None:
        raise PrefixcapError(sentence)
    noted.setdefault((kind, about), sentence)


def stripped(caption: str, place: str) -> str:
    """Return a caption without whitespace around it; note it if nothing is left."""
    text, noted = caption.strip(), _noted.get()
    if not text and noted is not None:
        noted.setdefault((EMPTY_CAPTIONS, place), f"{place}: a caption is empty")
    return text
