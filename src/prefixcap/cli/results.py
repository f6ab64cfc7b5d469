"""`prefixcap compare` and `report`: the results of studies.

`compare` shows a study's table, or the difference of two rows, studies or files; `report` writes an
HTML page, figures for papers, and tables.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prefixcap.cli import options
from prefixcap.cli.output import echo, echo_json, quiet_stdout
from prefixcap.errors import PrefixcapError

if TYPE_CHECKING:
    from prefixcap.report.writing import WrittenReport
    from prefixcap.study.analysis.selectors import Selection


def compare(
    first: Annotated[
        str,
        typer.Argument(
            metavar="A", help="A study's folder, DIR::WORDS for rows of it, or a JSONL file."
        ),
    ],
    second: Annotated[
        str | None,
        typer.Argument(metavar="B", help="The other; ::WORDS for rows of the same study."),
    ] = None,
    scores: Annotated[
        list[str] | None,
        typer.Option(help="The scores to show, such as CIDEr,Bleu_4. Repeatable, or a comma list."),
    ] = None,
    metrics: options.Metrics = None,
    references: Annotated[
        Path | None,
        typer.Option(help="A file of image and references, if files of predictions have none."),
    ] = None,
    common: Annotated[
        bool, typer.Option("--common", help="Compare on the test images that both have.")
    ] = False,
    correction: options.Correction = None,
    images: Annotated[
        int, typer.Option(help="Images to show per side, with the largest differences.")
    ] = 3,
    trust: options.Trust = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show a study's table, or the differences between A and B and their significance.

    A and B are studies, rows of studies, or files of predictions on the same images.
    """
    if second is None:
        for option, provided in (("--metrics", bool(metrics)), ("--common", common)):
            if provided:
                raise PrefixcapError(f"{option} needs two sides: name the second one too")
    width = shutil.get_terminal_size((160, 24)).columns
    with quiet_stdout():
        from prefixcap.study.analysis.compare import compare as compare_sides
        from prefixcap.study.analysis.comparison_text import comparison_text, pick_scores
        from prefixcap.study.analysis.selectors import select

        one = select(first)
        two = None if second is None else select(second, one)
        if references is not None and all(each is None or each.study for each in (one, two)):
            raise PrefixcapError("--references is for files of predictions: a study has its own")
        if two is None:
            answer, text = _table(one, scores, correction, width)
        else:
            result = compare_sides(
                one,
                two,
                metrics=options.split_values(metrics, ()) or None,
                references=references,
                common=common,
                correction=correction,
            )
            shown = pick_scores(scores or (), [*result.pairs[0].scores])
            answer = result.to_json(shown)
            text = comparison_text(result, scores or (), images, width)
    echo_json(answer) if as_json else echo(text)


def _table(
    selection: Selection, scores: list[str] | None, correction: str | None, width: int
) -> tuple[dict[str, Any], str]:
    from prefixcap.cli.table import fitting
    from prefixcap.study.analysis.analysis import correction_for
    from prefixcap.study.analysis.analyze import analyze
    from prefixcap.study.analysis.comparison_text import pick_scores
    from prefixcap.study.analysis.tables import (
        best_rows,
        legend,
        markdown,
        split_of,
        table,
        wrapped,
    )

    if selection.study is None:
        raise PrefixcapError(f"{selection.text} is a file: name another one to compare it with")
    study = selection.study
    correction = correction_for(study, chosen=correction)
    analysis = analyze(study)
    cells = {cell for row in selection.rows for cell in row.cells}
    shown = analysis if selection.complete else analysis.subset(cells)
    if scores:
        known = dict.fromkeys(name for entry in analysis.entries for name in entry.scores)
        names = pick_scores(scores, list(known))
        columns = table(
            shown, study.rows, scores=names, intervals=names, correction=correction, work=None
        )
        columns, note = best_rows(columns, shown)
        text = markdown(columns) + (f"{note}\n" if note else "")
    else:
        text, _ = fitting(shown, study.rows, correction, width)
    lines = wrapped(legend(shown, correction, split_of(study.rows)), width)
    if not study.complete:
        lines.append(f"{study.folder} is not finished: only finished cells are shown")
    answer = {"study": str(study.folder), **shown.summary(correction)}
    return answer, text + "\n".join(lines)


def report(
    run: Annotated[Path, typer.Argument(metavar="DIR", help="A study's folder.")],
    out: Annotated[
        Path | None,
        typer.Option(help="A folder, or an .html file for the page alone. (default: DIR/report)"),
    ] = None,
    kind: Annotated[
        str, typer.Option("--format", help="The format of the figures for papers: pdf or svg.")
    ] = "pdf",
    score: Annotated[
        str | None,
        typer.Option(help="The main score. (default: CIDEr, if it was scored)"),
    ] = None,
    images: Annotated[int, typer.Option(help="The maximum number of images in the gallery.")] = 200,
    correction: options.Correction = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, everything else to stderr.")
    ] = False,
) -> None:
    """Write a study as an HTML page, figures for papers, and tables."""
    from prefixcap.cli.progress import reporter
    from prefixcap.report.writing import write

    with quiet_stdout():
        written = write(
            run,
            out,
            kind=kind,
            score=score,
            images=images,
            correction=correction,
            reporter=reporter(),
        )
    echo_json(written.to_json()) if as_json else echo(_report_text(written))


def _report_text(written: WrittenReport) -> str:
    size = written.page.stat().st_size / 1e6
    lines = [*written.notes, f"page: {written.page} ({size:.1f} MB, {written.images} images)"]
    for name, paths in (("figures", written.figures), ("tables", written.tables)):
        if paths:
            lines.append(f"{name}: {paths[0].parent}/ {', '.join(path.name for path in paths)}")
    return "\n".join(lines)
