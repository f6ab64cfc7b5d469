"""The rows of a study's table: cells that differ only in their seed share one row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

import attrs

from prefixcap.evaluation.stats import Estimate
from prefixcap.util.text import visible

FIELDS = (
    *("encoder", "lm", "tuning", "train_on", "bridge", "mapper", "prefix_length", "prompt"),
    "decoder",
)
"""The fields that distinguish table rows; the seed does not."""
NO_BRIDGE = "none"
OLDER = {"train_on": "images", "bridge": NO_BRIDGE, "prompt": "none"}
"""The fields that rows of older studies lack."""
SHOWN = ("mapper", "prefix_length", "decoder")
"""The fields that every label has; the others appear only if they vary."""


@attrs.frozen(kw_only=True, repr=False)
class TableRow:
    """One row of a table.

    Attributes:
        label: Its name, unique in the study.
        fields: Its values of `FIELDS`; empty for a baseline.
        baseline: Whether the captions need no model.
        seeds: The seeds; empty for a baseline.
        cells: The cell of each seed.
        scores: The mean over seeds of each score.
        seed_std: The standard deviation over seeds (n - 1), if there are several.
        intervals: The confidence interval of each score, over images and seeds.
    """

    label: str
    fields: Mapping[str, Any]
    baseline: bool
    seeds: tuple[int, ...]
    cells: tuple[str, ...]
    scores: Mapping[str, float]
    seed_std: Mapping[str, float] = attrs.field(factory=dict)
    intervals: Mapping[str, tuple[float, float]] = attrs.field(factory=dict)

    def __repr__(self) -> str:
        scores = ", ".join(f"{name} {self.estimate(name)}" for name in self.scores)
        return f"<TableRow {self.label}: {scores}>"

    def estimate(self, score: str) -> Estimate:
        """Return a score with its interval."""
        low, high = self.intervals.get(score, (None, None))
        return Estimate(value=self.scores[score], low=low, high=high)

    def to_json(self) -> dict[str, Any]:
        """Return the row as JSON data."""
        return attrs.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TableRow:
        """Restore a row from `to_json`."""
        intervals = {name: (low, high) for name, (low, high) in data["intervals"].items()}
        lists = {name: tuple(data[name]) for name in ("seeds", "cells")}
        return cls(**{**data, **lists, "intervals": intervals})


def table_rows(
    rows: Sequence[Mapping[str, Any]], baselines: Sequence[Mapping[str, Any]]
) -> list[TableRow]:
    """Group the cells' rows by all fields but the seed, in their order, and append baselines."""
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(str(row[field]) for field in FIELDS), []).append(row)
    names = varied(rows)
    return [_table_row(group, names) for group in groups.values()] + [*map(_baseline, baselines)]


def varied(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the fields other than `SHOWN` that differ between rows."""
    rest = [field for field in FIELDS if field not in SHOWN]
    return [field for field in rest if len({str(row[field]) for row in rows}) > 1]


def label_of(fields: Mapping[str, Any], names: Sequence[str] = ()) -> str:
    """Return the label of a row: mapper, P, decoder and the given other fields."""
    more = "".join(f" {name}={fields[name]}" for name in names)
    return visible(f"{fields['mapper']} P={fields['prefix_length']} {fields['decoder']}{more}")


def match_rows(
    one: Sequence[TableRow], two: Sequence[TableRow]
) -> tuple[list[tuple[TableRow, TableRow]], tuple[list[str], list[str]]]:
    """Pair the rows of two studies that are equal except where the studies themselves differ.

    A field is ignored if it has one value in each study and these differ.

    Returns:
        The pairs, and the labels of the rows of each study without a counterpart.
    """

    def ignored(field: str) -> bool:
        first, second = (
            {str(r.fields[field]) for r in each if not r.baseline} for each in (one, two)
        )
        return first != second and len(first) == len(second) == 1

    compared = [field for field in FIELDS if not ignored(field)]

    def key(row: TableRow) -> tuple[str, ...]:
        return (row.label,) if row.baseline else tuple(str(row.fields[f]) for f in compared)

    counterparts = {key(row): row for row in two}
    pairs = [(row, counterparts[key(row)]) for row in one if key(row) in counterparts]
    matched = {row.label for row, _ in pairs}, {row.label for _, row in pairs}
    first_alone = [row.label for row in one if row.label not in matched[0]]
    second_alone = [row.label for row in two if row.label not in matched[1]]
    return pairs, (first_alone, second_alone)


def _table_row(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> TableRow:
    rows = sorted(rows, key=lambda row: int(row["seed"]))
    scores = [row["scores"] for row in rows]
    shared = [name for name in scores[0] if all(name in each for each in scores)]
    values = {name: [float(each[name]) for each in scores] for name in shared}
    return TableRow(
        label=label_of(rows[0], names),
        fields={field: rows[0][field] for field in FIELDS},
        baseline=False,
        seeds=tuple(row["seed"] for row in rows),
        cells=tuple(row["cell"] for row in rows),
        scores={name: fmean(each) for name, each in values.items()},
        seed_std={name: stdev(each) for name, each in values.items()} if len(rows) > 1 else {},
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
