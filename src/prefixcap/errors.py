"""The errors for bad input, and hints for unknown names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

MOST_SHOWN = 10
MOST_COMPARED = 100_000
LONGEST_NAME = 80
LONGEST_SENTENCE = 2000


class PrefixcapError(Exception):
    """Bad input, described in one sentence; the shell prints it and exits with status 2.

    A longer text than `LONGEST_SENTENCE` characters is shortened in its middle.
    """

    def __init__(self, sentence: object = "") -> None:
        super().__init__(shortened(str(sentence), LONGEST_SENTENCE))


def shortened(text: str, length: int) -> str:
    """Return a text of at most `length` characters, the middle of a longer one replaced."""
    if len(text) <= length:
        return text
    end = length // 4
    return f"{text[: length - end - 5]} ... {text[len(text) - end :]}"


def shown(value: object, length: int = LONGEST_NAME) -> str:
    """Return how a value of any size is written in an error, in at most `length` characters."""
    try:
        if isinstance(value, str):
            value = shortened(value, length)
        return shortened(repr(value), length)
    except (RecursionError, ValueError):  # nested too deeply, or a number of too many digits
        return f"a {type(value).__name__} that is too large to show"


class NonFiniteError(PrefixcapError):
    """Numbers that are NaN or infinite, so that some images have no captions.

    Attributes:
        images: The ids of these images by their number, from 0 to B-1.
        found: What was not finite, such as "the language model's logits".
        captions: The hypotheses of the other images by their number; complete when `iter_decode`
            or `decode` raises the error.
    """

    def __init__(
        self, images: Mapping[int, str], found: str, captions: Mapping[int, list[Any]] | None = None
    ) -> None:
        self.images = dict(images)
        self.found = found
        self.captions = dict(captions or {})
        names = [repr(name) for name in self.images.values()]
        more = f" and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else ""
        which = "the image" if len(names) == 1 else f"{len(names)} images:"
        super().__init__(
            f"{found} are not finite for {which} {', '.join(names[:MOST_SHOWN])}{more}: if the "
            "model runs in float16, use bfloat16 or float32; otherwise check the weights and the "
            "image's feature"
        )


class PrefixcapWarning(UserWarning):
    """Something that the user should know, in one sentence; the shell prints it."""


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
    # what can reach the cutoff, as the comparison takes time
    length = min(len(value), 2 * LONGEST_NAME)
    similar = [name for name in names if length <= 3 * len(name) and len(name) <= 3 * length]
    close = get_close_matches(value[:length], similar[:MOST_COMPARED], n=1, cutoff=0.5)
    hint = f"; did you mean {shown(close[0])}?" if close else ";"
    more = f" and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else ""
    listed = ", ".join(shortened(name, LONGEST_NAME) for name in names[:MOST_SHOWN])
    return f"{hint} known: {listed}{more}"
