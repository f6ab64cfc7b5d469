"""`prefixcap report`: a study as an HTML page, figures for papers, and tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prefixcap.cli import options
from prefixcap.cli.output import echo, echo_json, quiet_stdout

if TYPE_CHECKING:
    from prefixcap.report.writing import WrittenReport


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
    echo_json(written.to_json()) if as_json else echo(_text(written))


def _text(written: WrittenReport) -> str:
    size = written.page.stat().st_size / 1e6
    lines = [*written.notes, f"page: {written.page} ({size:.1f} MB, {written.images} images)"]
    for name, paths in (("figures", written.figures), ("tables", written.tables)):
        if paths:
            lines.append(f"{name}: {paths[0].parent}/ {', '.join(path.name for path in paths)}")
    return "\n".join(lines)
