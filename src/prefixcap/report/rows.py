"""The rows of a report's tables: table rows of a study, single seeds, and trainings."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from prefixcap.evaluation.stats import Estimate
from prefixcap.report.content import BEST, SPEED, TIED, Curve, ReportRow
from prefixcap.study.analysis.analysis import Analysis
from prefixcap.study.analysis.reader import SavedStudy
from prefixcap.study.analysis.rows import TableRow, varied
from prefixcap.util.text import visible

FACTS = {
    "captions_per_second": SPEED,
    "trained_parameters": "trained parameters",
    "training_seconds": "training, s",
    "training_memory": "training, MiB",
}
NO_FACTS = ("prefix_length", "seed", "images", "epochs", "best_epoch")
Rows = Sequence[Mapping[str, Any]]


def grouped_rows(analysis: Analysis, rows: Rows, correction: str) -> list[ReportRow]:
    """Return the table rows of a study, baselines last."""
    by_cell, more = {row["cell"]: row for row in rows}, varied(rows)
    grouped = []
    for index, entry in enumerate(analysis.entries):
        cells = [by_cell[name] for name in entry.cells if name in by_cell]
        scores = {name: entry.estimate(name) for name in entry.scores}
        marks = {} if entry.baseline else _marks(analysis, index, correction)
        grouped.append(_row(f"c{index}", entry, cells, scores, more, marks))
    return grouped


def single_rows(analysis: Analysis, rows: Rows, grouped: Sequence[ReportRow]) -> list[ReportRow]:
    """Return a row per seed, and the baselines; nothing if no table row has several seeds."""
    if not any(len(entry.seeds) > 1 for entry in analysis.entries):
        return []
    by_cell, more = {row["cell"]: row for row in rows}, varied(rows)
    single: list[ReportRow] = []
    for entry in analysis.entries:
        for name in () if entry.baseline else entry.cells:
            row = by_cell[name]
            one = attrs.evolve(entry, scores=row["scores"], intervals=row.get("intervals", {}))
            scores = {score: one.estimate(score) for score in one.scores}
            single.append(_row(f"s{len(single)}", entry, [row], scores, more, seed=row["seed"]))
    return [*single, *(row for row in grouped if row.baseline)]


def cell_names(
    analysis: Analysis, rows: Rows, grouped: Sequence[ReportRow], cells: Collection[str]
) -> dict[str, str]:
    """Return the labels of some of a study's cells, by cell, and those of its baselines, last."""
    seeds = {row["cell"]: row["seed"] for row in rows}
    names = {}
    for entry, row in zip(analysis.entries, grouped, strict=True):
        for cell in entry.cells:
            if not entry.baseline and cell not in cells:
                continue
            several = len(entry.seeds) > 1
            names[cell] = f"{row.label} seed {seeds[cell]}" if several else row.label
    return names


def best_cells(analysis: Analysis, rows: Rows, score: str, most: int) -> list[str]:
    """Return the cells with a model, or the best in a score if there are too many."""
    if len(rows) <= most:
        return [row["cell"] for row in rows]
    sign = analysis.scale(score).sign
    scored = [row for row in rows if score in row["scores"]]
    ranked = sorted(scored, key=lambda row: -sign * float(row["scores"][score]))
    return [row["cell"] for row in ranked[:most]]


def contrasting_cells(analysis: Analysis, grouped: Sequence[ReportRow], score: str) -> list[str]:
    """Return two cells to show first: the best, and the best of another decoder.

    Without another decoder the second is the next best cell, without another cell a baseline;
    there is no second if the study has nothing else.
    """
    pairs = zip(grouped, analysis.entries, strict=True)
    known = [(row, entry.cells[0]) for row, entry in pairs if entry.cells and score in row.scores]
    sign = analysis.scale(score).sign
    known.sort(key=lambda each: (each[0].baseline, -sign * each[0].scores[score].value))
    (best, first), *rest = known
    rest.sort(key=lambda each: (each[0].baseline, each[0].decoder == best.decoder))
    return [first, *(name for _, name in rest[:1])]


def curves(study: SavedStudy) -> tuple[list[Curve], list[str]]:
    """Return the trainings in the study's order, and the models without a training history."""
    more = varied(study.rows)
    models = {row["model"]: row for row in study.rows}
    histories = {model: study.histories.get(model, {}) for model in models}
    known = [model for model, history in histories.items() if history.get("train_loss")]
    drawn = [_curve(model, models[model], histories[model], more) for model in known]
    return drawn, [model for model in models if model not in known]


def panel(mapper: str, fields: Mapping[str, Any], more: Sequence[str]) -> str:
    """Return the name of the panel in which a row is drawn."""
    return visible(" ".join([mapper, *(f"{name}={fields[name]}" for name in more)]))


def facts(row: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a cell's row that are not scores, those of every table first."""
    known = {key: row[key] for key in FACTS if row.get(key) is not None}
    rest = {
        key: value
        for key, value in row.items()
        if isinstance(value, int | float) and key not in (*known, *NO_FACTS)
    }
    return {FACTS.get(k, k.replace("_", " ")): float(v) for k, v in {**known, **rest}.items()}


def _row(
    name: str,
    entry: TableRow,
    cells: Rows,
    scores: Mapping[str, Estimate],
    more: Sequence[str],
    marks: Mapping[str, str] | None = None,
    seed: int | None = None,
) -> ReportRow:
    label = entry.label.strip("()") if entry.baseline else entry.label
    fields = {
        key: visible(entry.fields.get(key, "")) for key in ("prefix_length", "decoder", *more)
    }
    mapper = label if entry.baseline else str(entry.fields["mapper"])
    columns = {"mapper": mapper, "P": fields["prefix_length"], "decoder": fields["decoder"]}
    columns |= {key: fields[key] for key in more}
    if seed is not None:
        columns["seed"] = str(seed)
    return ReportRow(
        id=name,
        label=label,
        mapper=mapper,
        prefix_length=entry.fields.get("prefix_length"),
        decoder=fields["decoder"],
        panel="" if entry.baseline else panel(mapper, entry.fields, more),
        columns=columns,
        seeds=tuple(row["seed"] for row in cells),
        scores=scores,
        marks=marks or {},
        facts=_means([facts(row) for row in cells]),
        baseline=entry.baseline,
    )


def _marks(analysis: Analysis, index: int, correction: str) -> dict[str, str]:
    marks = {
        name: analysis.mark(index, name, correction)
        for name in analysis.entries[index].scores
        if name in analysis.pairs and analysis.scale(name).better
    }
    shown = {"best": BEST, "n.s.": TIED}
    return {name: shown[mark] for name, mark in marks.items() if mark in shown}


def _means(facts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    shared = [name for name in (facts[0] if facts else ()) if all(name in each for each in facts)]
    return {name: sum(each[name] for each in facts) / len(facts) for name in shared}


def _curve(
    model: str, row: Mapping[str, Any], history: Mapping[str, Any], more: list[str]
) -> Curve:
    numbers = {name: value for name, value in facts(row).items() if name != SPEED}
    return Curve(
        id=Path(model).name,
        panel=panel(row["mapper"], row, more),
        prefix_length=row["prefix_length"],
        seed=row["seed"],
        columns={
            "mapper": str(row["mapper"]),
            "P": str(row["prefix_length"]),
            **{key: str(row[key]) for key in more},
            "seed": str(row["seed"]),
        },
        steps=tuple(history.get("loss", ())),
        train=tuple(history["train_loss"]),
        val=tuple(history.get("val_loss", ())),
        best=history.get("best_epoch", len(history["train_loss"])),
        facts={"epochs": float(len(history["train_loss"])), **numbers},
    )
