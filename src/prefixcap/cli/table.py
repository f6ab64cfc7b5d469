"""The output of `bench`: the table, some captions, and where the files are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from shlex import quote
from typing import TYPE_CHECKING, Any

from prefixcap.study.analysis.rows import label_of, varied
from prefixcap.study.analysis.tables import (
    WORK,
    best_rows,
    legend,
    markdown,
    split_of,
    table,
    wrapped,
)
from prefixcap.study.artifacts.folder import StudyFolder
from prefixcap.util.text import truncated, visible

if TYPE_CHECKING:
    from prefixcap.study.analysis.analysis import Analysis
    from prefixcap.study.analysis.results import Results

IMAGES = 5
LINES = 24
WIDE = 160
LONGEST = 500
"""Characters of a caption or reference that are shown."""


def text(results: Results, width: int = WIDE) -> str:
    """Render a study's results for a terminal of some width."""
    shown, complete = fitting(results.analysis, results.rows, results.correction, width)
    notes = legend(results.analysis, results.correction, split_of(results.rows))
    parts = [shown + "\n".join(wrapped(notes, width))]
    files = StudyFolder(results.folder)
    if not complete:
        parts.append(f"every score: {files.table}")
    parts += ["", *_captions(results)]
    if results.skipped:
        parts.append(f"{len(results.skipped)} images could not be read and were skipped")
    if files.contact_sheet.exists():
        parts.append(f"picture: {files.contact_sheet}")
    parts.append(f"run: {results.folder}")
    parts.append(f"report: prefixcap report {quote(str(results.folder))}")
    return "\n".join(parts)


def fitting(
    analysis: Analysis, rows: Sequence[Mapping[str, Any]], correction: str, width: int
) -> tuple[str, bool]:
    """Render the table with the most columns that fit, at least the narrowest.

    Returns:
        The table, and whether it has every score.
    """
    # the scores of a table that is too narrow for all
    known = dict.fromkeys(name for line in analysis.entries for name in line.scores)
    read = {name: analysis.scale(name) for name in known}
    some = [name for name, scale in read.items() if scale.headline and scale.better]
    main = [analysis.main] if analysis.main else some[:1]
    choices: list[tuple[Sequence[str] | None, bool]] = [(None, True), (None, False)]
    if some:
        choices += [(some, True), (some, False), (main, True), (main, False)]
    for scores, work in choices:
        columns = table(
            analysis, rows, scores=scores, correction=correction, work=WORK if work else None
        )
        columns, note = best_rows(columns, analysis)
        text = markdown(columns)
        if len(text.partition("\n")[0]) <= width:
            break
    return f"{text}{note}\n" if note else text, scores is None


def _shown(text: str) -> str:
    return visible(truncated(text, LONGEST))


def _captions(results: Results) -> list[str]:
    names = varied(results.rows)
    several = len({row["seed"] for row in results.rows}) > 1
    shown, more = results.rows[:LINES], len(results.rows) - LINES
    lines = []
    for row, example in enumerate(results.test[:IMAGES]):
        lines.append(visible(example.image.id))
        for result in shown:
            caption = results.captions[result["cell"]][row]["captions"][0]["text"]
            seed = f" seed {result['seed']}" if several else ""
            lines.append(f"  {label_of(result, names)}{seed}: {_shown(caption)}")
        lines += [f"  reference: {_shown(text)}" for text in example.references[:2]]
    if more > 0:
        lines.append(f"(captions of {more} more cells: captions.jsonl, or the report)")
    return [*lines, ""]
