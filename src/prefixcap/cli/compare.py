"""`prefixcap compare`: a study's table, or what differs between two and whether it is real."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prefixcap.cli import options
from prefixcap.cli.output import quiet_stdout
from prefixcap.errors import PrefixcapError

if TYPE_CHECKING:
    from prefixcap.cli.versus import Matched, Versus
    from prefixcap.study.analysis.selectors import Part


def compare(
    first: Annotated[
        str,
        typer.Argument(
            metavar="A", help="A study's folder, DIR::WORDS for lines of it, or a JSONL file."
        ),
    ],
    second: Annotated[
        str | None,
        typer.Argument(metavar="B", help="The other; ::WORDS for lines of the same study."),
    ] = None,
    scores: Annotated[
        list[str] | None,
        typer.Option(help="The scores to show, such as CIDEr,Bleu_4. Repeatable, or a comma list."),
    ] = None,
    metrics: options.Metrics = None,
    references: Annotated[
        Path | None,
        typer.Option(help="A file of image and references, where files of predictions have none."),
    ] = None,
    common: Annotated[
        bool, typer.Option("--common", help="Compare on the test images that both have.")
    ] = False,
    correction: options.Correction = None,
    images: Annotated[
        int, typer.Option(help="Show so many images on which each is better by most.")
    ] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show a study's table, or what differs between A and B and whether it is real.

    A and B are studies, lines of studies, or files of predictions on the same images.
    """
    options.check_correction(correction)
    if second is None:
        for option, given in (("--metrics", bool(metrics)), ("--common", common)):
            if given:
                raise PrefixcapError(f"{option} is for two to compare: name the second one too")
    width = shutil.get_terminal_size((160, 24)).columns
    with quiet_stdout():
        from prefixcap.study.analysis.selectors import part

        one = part(first, references=references)
        two = None if second is None else part(second, one, references)
        if references is not None and all(p is None or p.finished for p in (one, two)):
            raise PrefixcapError("--references is for files of predictions: a study has its own")
        correction = correction or _usual([one] if two is None else [one, two])
        if two is None:
            answer, text = _table(one, scores, correction, width)
        else:
            settings = {"common": common, "correction": correction}
            answer, text = _versus(one, two, scores, metrics, settings, images, width)
    typer.echo(json.dumps(answer) if as_json else text)


def _usual(parts: list[Part]) -> str:
    """Returns the correction that the studies were run with, where it is one."""
    from prefixcap.study.definition.study import HOLM

    said = {p.finished.config.get("correction", HOLM) for p in parts if p.finished is not None}
    return said.pop() if len(said) == 1 else HOLM


def _table(
    one: Part, scores: list[str] | None, correction: str, width: int
) -> tuple[dict[str, Any], str]:
    from prefixcap.cli.table import fitting, wrapped
    from prefixcap.study.analysis.analysis import analyse
    from prefixcap.study.analysis.tables import legend, markdown, table

    if one.finished is None:
        raise PrefixcapError(f"{one.text} is a file: name another one to compare it with")
    analysis = analyse(one.finished)
    cells = {cell for entry in one.entries for cell in entry.cells}
    shown = analysis if one.whole else analysis.of(cells)
    if scores:
        from prefixcap.cli.versus import chosen

        known = dict.fromkeys(name for entry in analysis.entries for name in entry.scores)
        names = chosen(scores, list(known))
        rows = one.finished.rows
        text = markdown(
            *table(shown, rows, scores=names, intervals=names, correction=correction, work=None)
        )
    else:
        text, _ = fitting(shown, one.finished.rows, correction, width)
    parts = [text + "\n".join(wrapped(legend(shown, correction), width))]
    if not one.finished.complete:
        parts.append(f"{one.path} is not finished: these are the cells that are")
    return {"study": str(one.path), **shown.summary(correction)}, "\n".join(parts)


def _versus(
    one: Part,
    two: Part,
    scores: list[str] | None,
    metrics: list[str] | None,
    settings: dict[str, Any],
    images: int,
    width: int,
) -> tuple[dict[str, Any], str]:
    from prefixcap.cli import versus
    from prefixcap.interfaces.metric import MetricConfig

    configs = None
    if metrics:
        from prefixcap.plugin.registry import default_registry

        registry = default_registry()
        configs = [registry.parse(MetricConfig, name) for name in options.many(metrics, ())]
    found: Versus | Matched
    if one.finished is not None and two.finished is not None and len(one.entries) > 1:
        found = versus.matched(one, two, configs, **settings)
    else:
        found = versus.single(one, two, configs, **settings)
    return found.to_json(scores), found.text(scores, images, width)
