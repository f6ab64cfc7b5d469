"""`memory_limits`: the memory that each device may give to a model."""

from __future__ import annotations

import re


def memory_limits(text: str) -> dict[str | int, str]:
    """Read limits such as "0=20GiB cpu=60GiB".

    Raises:
        ValueError: If the text is something else.
    """
    limits: dict[str | int, str] = {}
    for part in text.split():
        found = re.fullmatch(r"(\d+|cpu|mps)=(\d+(?:\.\d+)?[KMGT]i?B)", part)
        if found is None:
            raise ValueError(
                f"max_memory: {part!r} is not a device and its memory, such as 0=20GiB or cpu=60GiB"
            )
        limits[int(found[1]) if found[1].isdigit() else found[1]] = found[2]
    return limits
