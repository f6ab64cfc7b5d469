"""`prefixcap bundle` and `verify`: a study in one file, and whether its numbers are right."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import attrs
import typer

from prefixcap.cli.output import echo, echo_json, quiet_stdout

if TYPE_CHECKING:
    from prefixcap.publication.bundle.verifying import Verification

SHOWN = 5
"""Differences of each kind that are shown."""


def bundle(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="A finished study's folder.")],
    out: Annotated[
        Path | None,
        typer.Option(
            help="An archive, which ends in .zip, or a new folder. (default: STUDY/bundle.zip)"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Pack what a paper needs of a study: settings, captions, scores, tables, figures.

    Weights, features and images stay behind, and so do paths of this machine.
    """
    from prefixcap.cli.progress import reporter
    from prefixcap.publication.bundle.packing import bundle as pack

    with quiet_stdout():
        written = pack(study, out, reporter=reporter())
    if as_json:
        echo_json({**attrs.asdict(written), "path": str(written.path)})
        return
    size = written.bytes / 1e6
    echo(f"bundle: {written.path} ({written.files} files, {size:.1f} MB unpacked)")
    echo(f"digest: {written.digest}")
    echo(f"verify: prefixcap verify {written.path} --digest {written.digest[:16]}")


def verify(
    bundle: Annotated[
        Path, typer.Argument(metavar="BUNDLE", help="An archive or a folder from `bundle`.")
    ],
    digest: Annotated[
        str | None,
        typer.Option(help="The digest that was published, or its first 8 digits or more."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compute every number of a bundle again from its captions, and say what differs.

    The exit status is 0 if nothing does, and 1 otherwise. No model, weights or images are needed.
    """
    from prefixcap.cli.progress import reporter
    from prefixcap.publication.bundle.verifying import verify as check

    with quiet_stdout():
        result = check(bundle, digest=digest, reporter=reporter())
    echo_json(result.to_json()) if as_json else echo(_text(result))
    if not result.is_sound:
        raise typer.Exit(1)


def _text(result: Verification) -> str:
    lines = [f"digest: {result.digest}"]
    counts = ", ".join(f"{count:,} {what}" for what, count in result.checked.items())
    lines.append(f"checked: {counts}")
    lines += [f"not recomputed: {name}: {text}" for name, text in result.not_recomputed.items()]
    lines += [f"note: {text}" for text in result.notes]
    kinds = dict.fromkeys(each.kind for each in result.discrepancies)
    for kind in kinds:
        found = [str(each) for each in result.discrepancies if each.kind == kind]
        lines += found[:SHOWN]
        if (more := len(found) - SHOWN) > 0:
            lines.append(f"{kind}: {more:,} more, which --json shows")
    count = len(result.discrepancies)
    verdict = (
        "nothing differs" if result.is_sound else f"{count:,} difference{'s' if count > 1 else ''}"
    )
    return "\n".join([*lines, f"{result.bundle}: {verdict}"])
