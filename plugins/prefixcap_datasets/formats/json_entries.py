"""Entries of JSON files in COCO's and Karpathy's formats, each with its place for errors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from prefixcap.errors import PrefixcapError, shown
from prefixcap.util.text_files import load_json

T = TypeVar("T", int, str, list)  # type: ignore[type-arg]
EXPECTED = {int: "an integer", str: "a string", list: "a list"}


def load_object(path: Path, owner: str, keys: tuple[str, ...]) -> dict[str, Any]:
    """Read a JSON object that has lists, in the format of an owner such as COCO.

    Raises:
        PrefixcapError: If it cannot be read, or one of its lists, named by `keys`, is missing.
    """
    data = load_json(path, f"{owner}'s file")
    for key in keys:
        if not isinstance(data, dict) or not isinstance(data.get(key), list):
            raise PrefixcapError(f"{path} is not in {owner}'s format: it has no list {key!r}")
    return dict(data)


def places(entries: list[Any], path: Path | str, label: str) -> Iterator[tuple[str, Any]]:
    """Yield each entry with its place for error messages."""
    return ((f"{path}, {label} {number}", entry) for number, entry in enumerate(entries, 1))


def text(entry: Any, key: str, place: str) -> str:
    """Return a text of an entry.

    Raises:
        PrefixcapError: If it is missing, no text, or blank.
    """
    value = get(entry, key, str, place)
    if not value.strip():
        raise PrefixcapError(f"{place}: {key!r} is empty")
    return value


def get(entry: Any, key: str, kind: type[T], place: str) -> T:
    """Return a value of an entry.

    Raises:
        PrefixcapError: If it is missing or of another kind.
    """
    value = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise PrefixcapError(f"{place}: {key!r} must be {EXPECTED[kind]}, not {shown(value)}")
    return value
