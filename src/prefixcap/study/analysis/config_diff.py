"""What two studies, or two entries, were made differently by: configs, data, weights, versions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from prefixcap.study.analysis.reader import SavedStudy
from prefixcap.study.analysis.rows import FIELDS, TableRow
from prefixcap.study.definition import options

_ABOUT_TABLES = {"format", "kind", "study"} | {
    field.name
    for name, field in options.FIELDS.items()
    if not options.OPTIONS[name].changes_results
}
_GRID = ("encoders", "lms", "mappers", "tunings", "decoders", "prefix_lengths", "seeds")
NOTHING = "-"

Differences = dict[str, tuple[str, str]]
"""What differs, by its name: how it is in the first, and how in the second."""


def between(
    first: SavedStudy, second: SavedStudy, one: TableRow | None = None, two: TableRow | None = None
) -> Differences:
    """Says what differs between two studies, or between an entry of each.

    Args:
        first: a study.
        second: a study, which may be the same one.
        one: the entry of the first; the whole study unless given.
        two: the entry of the second.
    """
    if one is None or two is None:
        return _unequal(_study(first), _study(second))
    sides = [{**_entry(f, e), **_setting(f)} for f, e in ((first, one), (second, two))]
    return _unequal(*sides)


def _unequal(one: Mapping[str, str], two: Mapping[str, str]) -> Differences:
    return {
        key: (one.get(key, NOTHING), two.get(key, NOTHING))
        for key in dict.fromkeys((*one, *two))
        if one.get(key) != two.get(key)
    }


def _setting(finished: SavedStudy) -> dict[str, str]:
    """Flattens what all entries of a study share."""
    rest = {k: v for k, v in finished.config.items() if k not in _GRID and k not in _ABOUT_TABLES}
    return dict(_flat({**rest, "dataset": finished.rows[0]["dataset"]}))


def _study(finished: SavedStudy) -> dict[str, str]:
    grid = {field: ", ".join(_values(finished.rows, field)) for field in (*FIELDS, "seed")}
    models = finished.models.values()
    weights = {key: ", ".join(_values(models, key)) for key in ("encoder_digest", "lm_digest")}
    return {**grid, **_setting(finished), **weights}


def _values(rows: Iterable[Mapping[str, Any]], key: str) -> list[str]:
    return list(dict.fromkeys(str(row[key]) for row in rows if key in row))


def _entry(finished: SavedStudy, entry: TableRow) -> dict[str, str]:
    if entry.baseline:
        return {"captions": entry.label}
    rows = {row["cell"]: row for row in finished.rows}
    row = rows[entry.cells[0]]
    model = finished.models.get(row["model"], {})
    return {
        **{field: str(entry.fields[field]) for field in FIELDS},
        "seeds": ", ".join(map(str, entry.seeds)),
        "trained_parameters": f"{row['trained_parameters']:,}",
        **{key: str(model[key]) for key in ("encoder_digest", "lm_digest") if key in model},
    }


def _flat(data: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for key, value in data.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", _text(value)


def _text(value: object) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "+".join(map(_text, value))
    return str(value)
