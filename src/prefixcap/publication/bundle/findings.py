"""What a verification found: differences, what it could not recompute, and notes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import attrs

from prefixcap.errors import shown

Kind = Literal["file", "caption", "score", "interval", "comparison", "setting", "table"]
CLOSE = 1e-9
"""The relative difference of two scores that are the same, on machines that round differently."""


@attrs.frozen
class Discrepancy:
    """Something in a bundle that is not what its captions and references give.

    Attributes:
        kind: What differs.
        place: The file, or the part of it.
        text: How it differs.
    """

    kind: Kind
    place: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.place}: {self.text}"


@attrs.define(kw_only=True)
class Verified:
    """What a verification compared so far, and what differs.

    Attributes:
        discrepancies: What differs.
        not_recomputed: Why the scores of some metrics were not computed again, by metric.
        notes: What may explain a difference, and what was not compared.
        checked: How many numbers, files and texts were compared, by what they are.
    """

    discrepancies: list[Discrepancy] = attrs.field(factory=list)
    not_recomputed: dict[str, str] = attrs.field(factory=dict)
    notes: list[str] = attrs.field(factory=list)
    checked: Counter[str] = attrs.field(factory=Counter)

    def add(self, kind: Kind, place: str, text: str) -> None:
        """Add a difference."""
        self.discrepancies.append(Discrepancy(kind, place, text))

    def note(self, text: str) -> None:
        """Add a note, once."""
        if text not in self.notes:
            self.notes.append(text)

    def compare(
        self, kind: Kind, place: str, written: Any, found: Any, *, close: float = CLOSE
    ) -> None:
        """Compare JSON data as written in the bundle with what was found again."""
        for where, one, two in differences(written, found, close):
            name = f"{place}, {where}" if where else place
            self.add(kind, name, f"{_text(one)} is written, {_text(two)} was found")


def differences(
    written: Any, found: Any, close: float = CLOSE, place: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Yield the places where JSON data differ, with both values; `None` stands for a missing one.

    Numbers may differ by the share `close`.
    """
    if isinstance(written, Mapping) and isinstance(found, Mapping):
        for key in dict.fromkeys((*found, *written)):
            yield from differences(written.get(key), found.get(key), close, _join(place, key))
    elif isinstance(written, list | tuple) and isinstance(found, list | tuple):
        if len(written) != len(found):
            yield _join(place, "number of values"), len(written), len(found)
            return
        for number, (one, two) in enumerate(zip(written, found, strict=True), 1):
            yield from differences(one, two, close, _join(place, f"item {number}"))
    elif not _same(written, found, close):
        yield place, written, found


def _join(place: str, key: object) -> str:
    return f"{place}, {key}" if place else str(key)


def _same(one: Any, two: Any, close: float) -> bool:
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in (one, two)):
        return type(one) is type(two) and one == two
    return math.isclose(one, two, rel_tol=close, abs_tol=1e-3 * close)


def _text(value: Any) -> str:
    return "nothing" if value is None else shown(value)
