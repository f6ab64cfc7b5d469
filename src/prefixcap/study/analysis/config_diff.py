"""The settings in which two studies, or two of their rows, differ: configs, data and weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from prefixcap.study.analysis.reader import SavedStudy
from prefixcap.study.analysis.rows import FIELDS, TableRow
from prefixcap.study.definition import options

_NOT_SETTINGS = {"format", "kind", "study"} | {
    field.name
    for name, field in options.FIELDS.items()
    if not options.OPTIONS[name].changes_results
}
_GRID = (
    *("encoders", "lms", "mappers", "tunings", "train_on", "bridges", "prompts"),
    *("decoders", "prefix_lengths", "seeds"),
)
MISSING = "-"

ConfigDiff = dict[str, tuple[str, str]]
"""The values of each differing setting in the first and in the second."""


def diff_studies(first: SavedStudy, second: SavedStudy) -> ConfigDiff:
    """Return the settings in which two studies differ."""
    return _diff(_study(first), _study(second))


def diff_rows(first: SavedStudy, one: TableRow, second: SavedStudy, two: TableRow) -> ConfigDiff:
    """Return the settings in which a row of the first study differs from one of the second."""
    return _diff({**_row(first, one), **_shared(first)}, {**_row(second, two), **_shared(second)})


def _diff(one: Mapping[str, str], two: Mapping[str, str]) -> ConfigDiff:
    return {
        key: (one.get(key, MISSING), two.get(key, MISSING))
        for key in dict.fromkeys((*one, *two))
        if one.get(key) != two.get(key)
    }


def _shared(study: SavedStudy) -> dict[str, str]:
    """Flatten the settings that all rows of a study share."""
    rest = {k: v for k, v in study.config.items() if k not in _GRID and k not in _NOT_SETTINGS}
    return dict(_flatten({**rest, "dataset": study.rows[0]["dataset"]}))


def _study(study: SavedStudy) -> dict[str, str]:
    grid = {field: ", ".join(_values(study.rows, field)) for field in (*FIELDS, "seed")}
    models = study.models.values()
    weights = {key: ", ".join(_values(models, key)) for key in ("encoder_digest", "lm_digest")}
    return {**grid, **_shared(study), **weights}


def _values(rows: Iterable[Mapping[str, Any]], key: str) -> list[str]:
    return list(dict.fromkeys(str(row[key]) for row in rows if key in row))


def _row(study: SavedStudy, entry: TableRow) -> dict[str, str]:
    if entry.baseline:
        return {"captions": entry.label}
    row = next(row for row in study.rows if row["cell"] == entry.cells[0])
    model = study.models.get(row["model"], {})
    return {
        **{field: str(entry.fields[field]) for field in FIELDS},
        "seeds": ", ".join(map(str, entry.seeds)),
        "trained_parameters": f"{row['trained_parameters']:,}",
        **{key: str(model[key]) for key in ("encoder_digest", "lm_digest") if key in model},
    }


def _flatten(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in data.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _text(value)


def _text(value: object) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "+".join(map(_text, value))
    return str(value)
