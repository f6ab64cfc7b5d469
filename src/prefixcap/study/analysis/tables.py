"""Tables of a study for people: in the shell and as Markdown."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from prefixcap.study.analysis.analysis import Analysis
from prefixcap.study.analysis.rows import TableRow, varied

Table = tuple[list[str], list[list[str]]]
"""The names of the columns, and the lines."""

HEADS = {"prefix_length": "P"}
AGAINST = "vs best"
WORK = {"captions_per_second": "captions/s", "trained_parameters": "trained"}
EFFORT = {
    **WORK,
    "training_seconds": "training s",
    "training_flops": "training FLOP",
    "decoding_flops": "FLOP an image",
}


def table(
    analysis: Analysis,
    rows: Sequence[Mapping[str, Any]],
    *,
    scores: Sequence[str] | None = None,
    intervals: Collection[str] | None = None,
    correction: str = "holm",
    work: Mapping[str, str] | None = WORK,
) -> Table:
    """Lays a study's entries out, a line each.

    Args:
        analysis: the study's numbers.
        rows: its rows, for what is no score.
        scores: the scores to show; all unless given.
        intervals: the scores to show with their intervals; the main one, or the first that has
            them, unless given.
        correction: by which a line is said to differ from the best one.
        work: what to show of the work that a line took, with the columns' names.
    """
    lines = analysis.entries
    names = list(dict.fromkeys(name for line in lines for name in line.scores))
    shown = names if scores is None else [name for name in scores if name in names]
    main = analysis.main
    first = [main] if main else list(analysis.scores[:1])
    wide = first if intervals is None else intervals
    columns = _fields(lines, rows)
    for name in shown:
        columns[name] = _scores(lines, name, with_ends=name in wide)
        if name == main and name in analysis.pairs:
            columns[AGAINST] = [analysis.mark(n, name, correction) for n in range(len(lines))]
        if name == main and any(line.seed_std for line in lines):
            columns["seeds' sd"] = _seeds_std(lines, name)
    if work:
        columns |= _work(lines, rows, work)
    return list(columns), [list(line) for line in zip(*columns.values(), strict=True)]


def page(
    analysis: Analysis,
    rows: Sequence[Mapping[str, Any]],
    correction: str,
    warnings: Sequence[str] = (),
) -> str:
    """Writes `table.md`: every score with its interval, what that means, and each seed's rows."""
    every = analysis.scores
    notes = "".join(f"- {line}\n" for line in (*warnings, *legend(analysis, correction)))
    found = table(analysis, rows, intervals=every, correction=correction, work=EFFORT)
    parts = [markdown(*found), notes]
    if any(len(entry.seeds) > 1 for entry in analysis.entries):
        parts += ["Each seed, with intervals over images alone:\n", markdown(*seed_table(rows))]
    return "\n".join(part for part in parts if part)


def seed_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Lays every row out, a line a seed, with the intervals over images alone."""
    names = list(dict.fromkeys(name for row in rows for name in row["scores"]))
    columns = {HEADS.get(key, key): [str(row[key]) for row in rows] for key in _keys(rows)}
    columns = {"seed": [str(row["seed"]) for row in rows], **columns}
    for name in names:
        values = [row["scores"].get(name) for row in rows]
        columns[name] = _numbers(values, [row.get("intervals", {}).get(name) for row in rows])
    for key, head in EFFORT.items():
        columns[head] = [_work_text(key, row.get(key)) for row in rows]
    return list(columns), [list(line) for line in zip(*columns.values(), strict=True)]


def legend(analysis: Analysis, correction: str) -> list[str]:
    """Says what the signs in a table mean, for who sees them for the first time."""
    if not analysis.scores:
        return []
    seeds = max(len(entry.seeds) for entry in analysis.entries)
    share = f"{analysis.level:.0%}"
    source = f"other images like these {analysis.images}"
    what = f"{source} and other seeds" if seeds > 1 else f"{source} (one seed: others may differ)"
    said = [f"±: half the {share} interval, over {what}"]
    main = analysis.main
    if main is not None and main in analysis.pairs:
        count = analysis.family.get(main, len(analysis.pairs[main]["p"]))
        name = {"holm": "Holm's", "benjamini-hochberg": "Benjamini-Hochberg's"}[correction]
        pairs = f"{count} pairs of lines" if count > 1 else "one pair of lines"
        said.append(
            f"{AGAINST}: < is lower in {main} than the best line with a model, > is higher, "
            f"~ may be chance (level {1 - analysis.level:.2g}, {name} correction for {pairs})"
        )
    return said


def markdown(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Writes a table as Markdown, its columns aligned."""
    widths = [max(len(line[i]) for line in (header, *body)) for i in range(len(header))]

    def write(line: Sequence[str]) -> str:
        cells = (text.ljust(width) for text, width in zip(line, widths, strict=True))
        return f"| {' | '.join(cells)} |"

    rule = f"| {' | '.join('-' * width for width in widths)} |"
    return "\n".join([write(header), rule, *map(write, body)]) + "\n"


def number(value: float | None, ends: Sequence[float] | None = None, digits: int = 4) -> str:
    """Writes a score: `120`, `0.5123`, or with half its interval `0.512 ±.083`."""
    if value is None:
        return ""
    if ends is not None:
        half = (ends[1] - ends[0]) / 2
        written = f"{half:.{digits}f}".removeprefix("0") if half and digits else f"{half:.0f}"
        return f"{value:.{digits}f} ±{written}"
    return f"{value:.0f}" if float(value).is_integer() and abs(value) > 1 else f"{value:.4f}"


def digits_of(halves: Sequence[float]) -> int:
    """Returns how many decimals show two digits of most intervals of a column."""
    sizes = sorted(half for half in halves if half > 0 and math.isfinite(half))
    if not sizes:
        return 4
    return min(4, max(0, 1 - math.floor(math.log10(sizes[len(sizes) // 2]))))


def _keys(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return [*varied(rows), "mapper", "prefix_length", "decoder"]


def _fields(lines: Sequence[TableRow], rows: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    columns = {}
    for key in _keys(rows):
        columns[HEADS.get(key, key)] = [
            str(line.fields.get(key, line.label if key == "mapper" else "")) for line in lines
        ]
    if max(len(line.seeds) for line in lines) > 1:
        columns["seeds"] = [str(len(line.seeds) or "") for line in lines]
    return columns


def _scores(lines: Sequence[TableRow], name: str, *, with_ends: bool) -> list[str]:
    ends = [line.intervals.get(name) if with_ends else None for line in lines]
    return _numbers([line.scores.get(name) for line in lines], ends)


def _numbers(values: Sequence[float | None], ends: Sequence[Sequence[float] | None]) -> list[str]:
    digits = digits_of([(each[1] - each[0]) / 2 for each in ends if each is not None])
    return [number(value, end, digits) for value, end in zip(values, ends, strict=True)]


def _seeds_std(lines: Sequence[TableRow], name: str) -> list[str]:
    found = [line.seed_std.get(name) for line in lines]
    digits = digits_of([value for value in found if value is not None])
    return ["" if value is None else f"{value:.{digits}f}" for value in found]


def _work(
    lines: Sequence[TableRow], rows: Sequence[Mapping[str, Any]], work: Mapping[str, str]
) -> dict[str, list[str]]:
    by_cell = {row["cell"]: row for row in rows}
    columns = {}
    for key, head in work.items():
        means = []
        for line in lines:
            found = [by_cell[cell].get(key) for cell in line.cells if cell in by_cell]
            known = [value for value in found if value is not None]
            means.append(sum(known) / len(known) if known else None)
        columns[head] = [_work_text(key, mean) for mean in means]
    return columns


def _work_text(key: str, value: float | None) -> str:
    if value is None:
        return ""
    if key.endswith("_flops"):
        return f"{value:.3g}"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.1f}"
