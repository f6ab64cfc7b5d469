"""Splits drawn with a seed, image by image."""

from __future__ import annotations

import math
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import attrs

from prefixcap.errors import PrefixcapError, shown
from prefixcap.evaluation.image_names import forms

NAMES = ("train", "val", "test")
EXAMPLE = "0.8/0.1/0.1"


def shares(text: str) -> tuple[float, ...] | None:
    """Return the shares of train, val and test in a text such as "0.8/0.1/0.1".

    They may be in any proportion, such as 80/10/10.

    Returns:
        Three numbers with the sum 1, or None if the text is something else.

    Raises:
        PrefixcapError: If it has numbers, but not three of at least 0, some of them above 0.
    """
    try:
        numbers = [float(part) for part in text.split("/")]
    except ValueError:
        return None
    total = sum(numbers)
    if len(numbers) != 3 or min(numbers) < 0 or not math.isfinite(total) or not total:
        raise PrefixcapError(
            f"splits must be the shares of train, val and test, such as {EXAMPLE}, not "
            f"{shown(text)}"
        )
    return tuple(number / total for number in numbers)


def words_or_shares(*words: str) -> Callable[[Any, attrs.Attribute[Any], str], None]:
    """Return a validator for one of a few words, or the shares of splits."""

    def check(_: Any, attribute: attrs.Attribute[Any], value: str) -> None:
        if value not in words and shares(value) is None:
            known = ", ".join(filter(None, words))
            allowed = f"{known}, or shares" if known else "shares of train, val and test"
            raise ValueError(f"{attribute.name} must be {allowed} such as {EXAMPLE}, not {value!r}")

    return check


def share_of(splits: str, seed: int) -> Callable[[str], str] | None:
    """Return a function from an image's id to its split, or None if `splits` has no shares.

    The split depends on the image's id and the seed alone: neither on the other images nor on
    their order. COCO's file names count as their number, and endings of pictures do not count, so
    that a copy of the data set in another format has the same splits.
    """
    parts = shares(splits)
    if parts is None:
        return None
    ends = [sum(parts[: i + 1]) for i in range(3)]
    last = max(i for i in range(3) if parts[i])

    def find(image: str) -> str:
        # names in folders often differ in the folder alone
        name = image if "/" in image else forms(image)[-1]
        draw = int.from_bytes(sha256(f"{seed}\n{name}".encode()).digest()[:8], "big") / 2**64
        return NAMES[next((i for i in range(3) if draw < ends[i]), last)]

    return find
