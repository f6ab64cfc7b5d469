"""The lines of a study's table: the cells that differ in their seed alone are one entry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

FIELDS = ("encoder", "lm", "tuning", "mapper", "prefix_length", "decoder")
"""What tells entries apart; the seed does not."""
SHOWN = ("mapper", "prefix_length", "decoder")
"""The fields that every label has; the others only where they vary."""


@attrs.frozen(kw_only=True)
class TableRow:
    """One line of a table.

    Attributes:
        label: what it is called, unique in its study.
        fields: what tells it apart, by `FIELDS`; none of a baseline.
        baseline: whether no model made the captions.
        seeds: the seeds; none of a baseline.
        cells: each seed's cell.
        scores: the mean over seeds of each score.
        seed_std: the standard deviation over seeds (n - 1), where there are several.
        intervals: the ends of each score's confidence interval, over images and seeds.
    """

    label: str
    fields: Mapping[str, Any]
    baseline: bool
    seeds: tuple[int, ...]
    cells: tuple[str, ...]
    scores: Mapping[str, float]
    seed_std: Mapping[str, float] = attrs.field(factory=dict)
    intervals: Mapping[str, tuple[float, float]] = attrs.field(factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Returns the entry as JSON data."""
        found = attrs.asdict(self)
        return {**found, "intervals": {k: list(v) for k, v in self.intervals.items()}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TableRow:
        """Turns what `to_json` returned back."""
        intervals = {name: (low, high) for name, (low, high) in data["intervals"].items()}
        lists = {name: tuple(data[name]) for name in ("seeds", "cells")}
        return cls(**{**data, **lists, "intervals": intervals})


def entries(
    rows: Sequence[Mapping[str, Any]], baselines: Sequence[Mapping[str, Any]]
) -> list[TableRow]:
    """Groups a study's rows by all but their seeds, in their order, and adds the baselines."""
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(str(row[field]) for field in FIELDS), []).append(row)
    names = varied(rows)
    found = [_entry(group, names) for group in groups.values()]
    return found + [_baseline(row) for row in baselines]


def varied(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the fields beside mapper, P and decoder that are not the same in all rows."""
    rest = [field for field in FIELDS if field not in SHOWN]
    return [field for field in rest if len({str(row[field]) for row in rows}) > 1]


def label_of(fields: Mapping[str, Any], names: Sequence[str] = ()) -> str:
    """Returns what a row is called: mapper, P and decoder, and other fields that vary."""
    more = "".join(f" {name}={fields[name]}" for name in names)
    return f"{fields['mapper']} P={fields['prefix_length']} {fields['decoder']}{more}"


def _entry(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> TableRow:
    rows = sorted(rows, key=lambda row: int(row["seed"]))
    scores = [row["scores"] for row in rows]
    shared = [name for name in scores[0] if all(name in each for each in scores)]
    values = {name: [float(each[name]) for each in scores] for name in shared}
    several = len(rows) > 1
    return TableRow(
        label=label_of(rows[0], names),
        fields={field: rows[0][field] for field in FIELDS},
        baseline=False,
        seeds=tuple(row["seed"] for row in rows),
        cells=tuple(row["cell"] for row in rows),
        scores={name: sum(each) / len(each) for name, each in values.items()},
        seed_std={name: _std(each) for name, each in values.items()} if several else {},
    )


def _baseline(row: Mapping[str, Any]) -> TableRow:
    return TableRow(
        label=f"({row['name']})",
        fields={},
        baseline=True,
        seeds=(),
        cells=(row["cell"],) if "cell" in row else (),
        scores=dict(row["scores"]),
    )


def _std(values: Sequence[float]) -> float:
    mean = sum(values) / len(values)
    return float((sum((value - mean) ** 2 for value in values) / (len(values) - 1)) ** 0.5)
