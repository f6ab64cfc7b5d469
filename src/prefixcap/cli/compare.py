"""`prefixcap compare`: a study's table, or the difference of two rows, studies or files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prefixcap.cli import options
from prefixcap.cli.output import echo, echo_json, quiet_stdout
from prefixcap.errors import PrefixcapError

if TYPE_CHECKING:
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
    from prefixcap.study.analysis.tables import best_rows, legend, markdown, table, wrapped

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
    lines = wrapped(legend(shown, correction), width)
    if not study.complete:
        lines.append(f"{study.folder} is not finished: only finished cells are shown")
    answer = {"study": str(study.folder), **shown.summary(correction)}
    return answer, text + "\n".join(lines)
