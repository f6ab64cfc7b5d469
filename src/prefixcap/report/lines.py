"""The lines of a report's table: a study's entries, and each of their seeds by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prefixcap.report.content import BEST, TIED, Cell, Estimate
from prefixcap.study.analysis.analysis import Analysis
from prefixcap.study.analysis.rows import TableRow, varied

MORE_IS_BETTER = ("Bleu_", "METEOR", "ROUGE", "CIDEr", "SPICE", "CLIPScore", "RefCLIPScore")
FACTS = {
    "captions_per_second": "captions/s",
    "trained_parameters": "trained parameters",
    "training_seconds": "training, s",
}
NO_FACTS = ("prefix_length", "seed", "images", "epochs", "best_epoch")
Rows = Sequence[Mapping[str, Any]]


def more_is_better(score: str) -> bool:
    """Says whether the highest value of a score is the best: a longer caption is not better."""
    return score.startswith(MORE_IS_BETTER)


def cells(made: Analysis, rows: Rows, correction: str) -> list[Cell]:
    """Returns the entries of a study, the baselines last.

    Args:
        made: the study's numbers.
        rows: its rows.
        correction: how p-values are adjusted for many comparisons.
    """
    by_cell, more = {row["cell"]: row for row in rows}, varied(rows)
    found = []
    for number, entry in enumerate(made.entries):
        here = [by_cell[name] for name in entry.cells if name in by_cell]
        scores = {name: _estimate(made, number, name, correction) for name in entry.scores}
        found.append(_cell(f"c{number}", entry, here, scores, more))
    return found


def single(made: Analysis, rows: Rows, grouped: Sequence[Cell]) -> list[Cell]:
    """Returns every seed by itself, and the baselines; nothing where no entry has several seeds."""
    if not any(len(entry.seeds) > 1 for entry in made.entries):
        return []
    by_cell, more = {row["cell"]: row for row in rows}, varied(rows)
    found: list[Cell] = []
    for entry in made.entries:
        for name in () if entry.baseline else entry.cells:
            row = by_cell[name]
            ends = row.get("intervals", {})
            scores = {
                score: _estimated(value, ends.get(score)) for score, value in row["scores"].items()
            }
            found.append(_cell(f"s{len(found)}", entry, [row], scores, more, alone=True))
    return [*found, *(cell for cell in grouped if cell.baseline)]


def names(made: Analysis, rows: Rows, grouped: Sequence[Cell]) -> dict[str, str]:
    """Returns what the cells of a study are called, by cell; the baselines are last."""
    seeds = {row["cell"]: row["seed"] for row in rows}
    found = {}
    for entry, cell in zip(made.entries, grouped, strict=True):
        for name in entry.cells:
            several = len(entry.seeds) > 1
            found[name] = f"{cell.label} seed {seeds[name]}" if several else cell.label
    return found


def contrasted(made: Analysis, grouped: Sequence[Cell], score: str) -> list[str]:
    """Returns two cells of a study to look at first: the best, and the best of another decoder.

    Where there is no other decoder it is the next best, and where there is no other cell of the
    grid a baseline; one cell alone where there is nothing else.
    """
    pairs = zip(grouped, made.entries, strict=True)
    known = [(cell, entry.cells[0]) for cell, entry in pairs if entry.cells]
    known = [each for each in known if score in each[0].scores]
    known.sort(key=lambda each: (each[0].baseline, -each[0].scores[score].value))
    (best, first), *rest = known
    rest.sort(key=lambda each: (each[0].baseline, each[0].decoder == best.decoder))
    return [first, *(name for _, name in rest[:1])]


def panel(mapper: str, fields: Mapping[str, Any], more: Sequence[str]) -> str:
    """Returns what the cells that are drawn together are called."""
    return " ".join([mapper, *(f"{name}={fields[name]}" for name in more)])


def facts(row: Mapping[str, Any]) -> dict[str, float]:
    """Returns the numbers of a row beside its scores, those that every table has first."""
    known = {key: row[key] for key in FACTS if key in row}
    rest = {
        key: value
        for key, value in row.items()
        if isinstance(value, int | float) and key not in (*known, *NO_FACTS)
    }
    return {FACTS.get(k, k.replace("_", " ")): float(v) for k, v in {**known, **rest}.items()}


def _cell(
    name: str,
    entry: TableRow,
    rows: Rows,
    scores: Mapping[str, Estimate],
    more: Sequence[str],
    *,
    alone: bool = False,
) -> Cell:
    label = entry.label.strip("()") if entry.baseline else entry.label
    fields = {key: str(entry.fields.get(key, "")) for key in ("prefix_length", "decoder", *more)}
    mapper = label if entry.baseline else str(entry.fields["mapper"])
    columns = {"mapper": mapper, "P": fields["prefix_length"], "decoder": fields["decoder"]}
    columns |= {key: fields[key] for key in more}
    if alone:
        columns["seed"] = str(rows[0]["seed"])
    return Cell(
        id=name,
        label=label,
        mapper=mapper,
        prefix_length=entry.fields.get("prefix_length"),
        decoder=fields["decoder"],
        panel="" if entry.baseline else panel(mapper, entry.fields, more),
        columns=columns,
        seeds=tuple(row["seed"] for row in rows),
        scores=scores,
        facts=_means([facts(row) for row in rows]),
        baseline=entry.baseline,
    )


def _estimate(made: Analysis, number: int, name: str, correction: str) -> Estimate:
    entry = made.entries[number]
    mark = ""
    if name in made.pairs and more_is_better(name) and not entry.baseline:
        found = made.mark(number, name, correction)
        mark = {"best": BEST, "~": TIED}.get(found, "")
    return _estimated(entry.scores[name], entry.intervals.get(name), mark)


def _estimated(value: float, ends: Sequence[float] | None, mark: str = "") -> Estimate:
    low, high = (None, None) if ends is None else ends
    return Estimate(value=value, low=low, high=high, mark=mark)


def _means(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    shared = [name for name in (found[0] if found else ()) if all(name in each for each in found)]
    return {name: sum(each[name] for each in found) / len(found) for name in shared}
