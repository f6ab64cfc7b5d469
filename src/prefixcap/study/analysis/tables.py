"""Tables of a study as text: for a terminal and as Markdown."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from textwrap import wrap
from typing import Any

from prefixcap.study.analysis.analysis import TITLES, Analysis
from prefixcap.study.analysis.rows import SHOWN, TableRow, varied
from prefixcap.util.text import visible

Columns = dict[str, Sequence[str]]
"""The texts of each column by its name."""

VS_BEST = "vs best"
MOST = 40
"""Rows with a model that a table in a terminal has."""
WORK = {"captions_per_second": "captions/s", "trained_parameters": "trained"}
EFFORT = {
    **WORK,
    "training_seconds": "training s",
    "training_flops": "training FLOP",
    "training_memory": "training MiB",
    "val_loss": "val loss",
    "decoding_flops": "FLOP per image",
}


def table(
    analysis: Analysis,
    rows: Sequence[Mapping[str, Any]],
    *,
    scores: Sequence[str] | None = None,
    intervals: Collection[str] | None = None,
    correction: str = "holm",
    work: Mapping[str, str] | None = WORK,
) -> Columns:
    """Lay out the table of a study.

    Args:
        analysis: The study's numbers.
        rows: The rows of its cells, for columns that are not scores.
        scores: The scores to show; all by default.
        intervals: The scores to show with intervals; by default the main one, or the first that
            has them.
        correction: The correction for the comparison with the best row.
        work: The columns about speed and training, with their titles.
    """
    entries = analysis.entries
    names = list(dict.fromkeys(name for entry in entries for name in entry.scores))
    shown = names if scores is None else [name for name in scores if name in names]
    main = analysis.main
    wide = ([main] if main else analysis.scores[:1]) if intervals is None else intervals
    columns = _fields(entries, rows)
    for name in shown:
        bounds = [entry.intervals.get(name) if name in wide else None for entry in entries]
        columns[name] = _score_column([entry.scores.get(name) for entry in entries], bounds)
        if name == main and name in analysis.pairs:
            columns[VS_BEST] = [analysis.mark(n, name, correction) for n in range(len(entries))]
        if name == main and any(entry.seed_std for entry in entries):
            columns["seeds' sd"] = _seed_std(entries, name)
    return {**columns, **_work(entries, rows, work or {})}


def best_rows(columns: Columns, analysis: Analysis, most: int = MOST) -> tuple[Columns, str]:
    """Leave out all but the best rows of a table that is too long to read.

    Returns:
        The columns of the best rows by the main score (the first rows without one), in the table's
        order, with the baselines; and a sentence about what is left out, "" if nothing is.
    """
    entries, main = analysis.entries, analysis.main
    models = [n for n, entry in enumerate(entries) if not entry.baseline]
    if len(models) <= most:
        return columns, ""
    if main is not None:
        sign = analysis.scale(main).sign
        models.sort(key=lambda n: -sign * entries[n].scores.get(main, -sign * math.inf))
    kept = sorted(models[:most]) + [n for n, entry in enumerate(entries) if entry.baseline]
    what = "first" if main is None else f"best by {main}"
    note = f"the {most} rows that are {what}, of {len(models):,}; table.md has all"
    return {title: [texts[n] for n in kept] for title, texts in columns.items()}, note


def page(
    analysis: Analysis,
    rows: Sequence[Mapping[str, Any]],
    correction: str,
    warnings: Sequence[str] = (),
) -> str:
    """Return `table.md`: every score with its interval, a legend, and the row of each seed."""
    notes = "".join(
        f"- {line}\n" for line in (*warnings, *legend(analysis, correction, split_of(rows)))
    )
    full = table(analysis, rows, intervals=analysis.scores, correction=correction, work=EFFORT)
    parts = [markdown(full), notes]
    if any(len(entry.seeds) > 1 for entry in analysis.entries):
        parts += ["Single seeds, with intervals over images only:\n", markdown(seed_table(rows))]
    return "\n".join(part for part in parts if part)


def seed_table(rows: Sequence[Mapping[str, Any]]) -> Columns:
    """Lay out a row per cell, with intervals over images only."""
    names = list(dict.fromkeys(name for row in rows for name in row["scores"]))
    columns: Columns = {"seed": [str(row["seed"]) for row in rows]}
    columns |= {title: [str(row[key]) for row in rows] for key, title in _titles(rows).items()}
    for name in names:
        values = [row["scores"].get(name) for row in rows]
        columns[name] = _score_column(values, [row.get("intervals", {}).get(name) for row in rows])
    for key, title in EFFORT.items():
        columns[title] = [_work_text(key, row.get(key)) for row in rows]
    return columns


def split_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the split whose images were scored; "" if it is not known."""
    return next((row["split"] for row in rows if row.get("split")), "")


def legend(analysis: Analysis, correction: str, split: str = "") -> list[str]:
    """Explain the intervals and marks of a table of a split's images."""
    if not analysis.scores:
        return []
    several = max(len(entry.seeds) for entry in analysis.entries) > 1
    source = "and other seeds" if several else "(one seed: others may differ)"
    lines = [
        f"±: half the {analysis.level:.0%} interval, over other images like these "
        f"{analysis.images}{f' of {visible(split)!r}' if split else ''} {source}"
    ]
    main = analysis.main
    if main is not None and main in analysis.pairs:
        count = analysis.family.get(main, len(analysis.pairs[main]))
        pairs = f"{count} pairs of rows" if count > 1 else "one pair of rows"
        lines.append(
            f"{VS_BEST}: the difference in {main} from the best row with a model, worse, better or "
            f"not significant (n.s.) at level {1 - analysis.level:.2g}, {TITLES[correction]} "
            f"correction for {pairs}"
        )
    return lines


def markdown(columns: Mapping[str, Sequence[str]]) -> str:
    """Render a table as Markdown with aligned columns."""
    texts = [[*columns], *map(list, zip(*columns.values(), strict=True))]
    lines = [[visible(text) for text in line] for line in texts]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    padded = (
        [text.ljust(width) for text, width in zip(line, widths, strict=True)] for line in lines
    )
    return "".join(f"| {' | '.join(line)} |\n" for line in padded)


def wrapped(lines: Sequence[str], width: int) -> list[str]:
    """Break lines of text to a width."""
    return [part for line in lines for part in wrap(line, width, subsequent_indent="  ")]


def score_text(value: float | None, bounds: Sequence[float] | None = None, digits: int = 4) -> str:
    """Format a score: `120`, `0.5123`, or with half its interval `0.512 ±.083`."""
    if value is None:
        return ""
    if bounds is not None:
        half = (bounds[1] - bounds[0]) / 2
        text = f"{half:.{digits}f}".removeprefix("0") if half and digits else f"{half:.0f}"
        return f"{value:.{digits}f} ±{text}"
    return f"{value:.0f}" if float(value).is_integer() and abs(value) > 1 else f"{value:.4f}"


def decimals_for(halves: Sequence[float]) -> int:
    """Return how many decimals show two digits of the median half-width of intervals."""
    sizes = sorted(half for half in halves if half > 0 and math.isfinite(half))
    if not sizes:
        return 4
    return min(4, max(0, 1 - math.floor(math.log10(sizes[len(sizes) // 2]))))


def _titles(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the titles of the fields in a table's first columns."""
    return {key: "P" if key == "prefix_length" else key for key in (*varied(rows), *SHOWN)}


def _fields(entries: Sequence[TableRow], rows: Sequence[Mapping[str, Any]]) -> Columns:
    columns: Columns = {
        title: [
            str(entry.fields.get(key, entry.label if key == "mapper" else "")) for entry in entries
        ]
        for key, title in _titles(rows).items()
    }
    if max(len(entry.seeds) for entry in entries) > 1:
        columns["seeds"] = [str(len(entry.seeds) or "") for entry in entries]
    return columns


def _score_column(
    values: Sequence[float | None], bounds: Sequence[Sequence[float] | None]
) -> list[str]:
    digits = decimals_for([(each[1] - each[0]) / 2 for each in bounds if each is not None])
    return [score_text(value, each, digits) for value, each in zip(values, bounds, strict=True)]


def _seed_std(entries: Sequence[TableRow], name: str) -> list[str]:
    deviations = [entry.seed_std.get(name) for entry in entries]
    digits = decimals_for([value for value in deviations if value is not None])
    return ["" if value is None else f"{value:.{digits}f}" for value in deviations]


def _work(
    entries: Sequence[TableRow], rows: Sequence[Mapping[str, Any]], work: Mapping[str, str]
) -> Columns:
    by_cell = {row["cell"]: row for row in rows}
    columns: Columns = {}
    for key, title in work.items():
        texts = []
        for entry in entries:
            values = [by_cell[cell].get(key) for cell in entry.cells if cell in by_cell]
            known = [value for value in values if value is not None]
            texts.append(_work_text(key, sum(known) / len(known) if known else None))
        columns[title] = texts
    return columns


def _work_text(key: str, value: float | None) -> str:
    if value is None:
        return ""
    if key.endswith("_flops"):
        return f"{value:.3g}"
    if key == "val_loss":
        return f"{value:.3f}"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.1f}"
