"""How long each kind of work took, and so how long what is missing will take."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

FILE = "timings.jsonl"
NEWEST = 10
"""Of so many other studies measurements are looked at."""
WORKS = ("encoding", "training", "captioning", "scoring")


@attrs.frozen(kw_only=True)
class Work:
    """A piece of work of one kind.

    Attributes:
        kind: one of `WORKS`.
        units: images to encode, steps to train, images to caption, or images to score.
        by: what decides how long a unit takes, the most important first; texts are matched, and
            of numbers the nearest is taken.
    """

    kind: str
    units: int
    by: Mapping[str, str | int]


def note(folder: Path, work: Work, seconds: float) -> None:
    """Keeps how long a piece of work took."""
    if not work.units:
        return
    line = {"work": work.kind, **work.by, "units": work.units, "seconds": round(seconds, 3)}
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / FILE).open("a", encoding="utf-8") as file:
        # one write, so that lines of two processes do not mix
        file.write(f"{json.dumps(line, ensure_ascii=False)}\n")


class Timings:
    """What a study has measured.

    Args:
        folder: the study's folder.
        beside: whether the studies in the same folder stand in for kinds of work of which this one
            has measured nothing.
    """

    def __init__(self, folder: Path, *, beside: bool = False) -> None:
        self._lines = _read(folder / FILE)
        self.lent: set[str] = set()
        if beside:
            own = {line["work"] for line in self._lines}
            others = [line for line in _beside(folder) if line["work"] not in own]
            self.lent = {line["work"] for line in others}
            self._lines += others
        self._known: dict[tuple[str, frozenset[tuple[str, str | int]]], float | None] = {}

    def seconds(self, works: Sequence[Work]) -> dict[str, float | None]:
        """Estimates the time of works, by kind; None where nothing of a kind was measured."""
        found: dict[str, float | None] = {}
        for work in works:
            each = self.each(work)
            sum_so_far = found.get(work.kind, 0.0)
            if each is None or sum_so_far is None:
                found[work.kind] = None
            else:
                found[work.kind] = sum_so_far + work.units * each
        return found

    def each(self, work: Work) -> float | None:
        """Estimates the seconds a unit, by the measurements that are the most alike."""
        # a large grid has thousands of works of a few sorts
        sort = (work.kind, frozenset(work.by.items()))
        if sort not in self._known:
            self._known[sort] = self._measure(work)
        return self._known[sort]

    def _measure(self, work: Work) -> float | None:
        lines = [line for line in self._lines if line["work"] == work.kind]
        if not lines:
            return None
        best = max(_likeness(line, work) for line in lines)
        alike = [line for line in lines if _likeness(line, work) == best]
        units: int = sum(line["units"] for line in alike)
        return float(sum(line["seconds"] for line in alike)) / units


def _likeness(line: Mapping[str, Any], work: Work) -> tuple[float, ...]:
    found = []
    for name, wanted in work.by.items():
        had = line.get(name)
        if isinstance(wanted, int) and isinstance(had, int):
            found.append(-abs(had - wanted))
        else:
            found.append(int(had == wanted))
    return tuple(found)


def _beside(folder: Path) -> list[dict[str, Any]]:
    """Reads what the newest other studies in the same folder have measured."""
    files = [file for file in folder.parent.glob(f"*/{FILE}") if file.parent.name != folder.name]
    newest = sorted(files, key=lambda file: file.stat().st_mtime)[-NEWEST:]
    return [line for file in newest for line in _read(file)]


def _read(file: Path) -> list[dict[str, Any]]:
    found = []
    for line in file.read_text("utf-8").splitlines() if file.exists() else ():
        try:
            data = json.loads(line)
            found.append({**data, "units": int(data["units"]), "seconds": float(data["seconds"])})
        except (ValueError, KeyError, TypeError):  # a line that was broken off
            continue
    return found
