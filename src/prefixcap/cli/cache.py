"""`prefixcap cache`: what is kept, how large it is, and what can go."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prefixcap.cli.output import quiet_stdout
from prefixcap.errors import PrefixcapError

if TYPE_CHECKING:
    from prefixcap.study.definition.study import Study
    from prefixcap.study.execution.prune import Artifact


def cache(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="DIR", help="A study's folder; the user's cache unless given."),
    ] = None,
    study: Annotated[
        Path | None,
        typer.Option(help="A study file: what it uses is kept, instead of what was run last."),
    ] = None,
    prune: Annotated[bool, typer.Option("--prune", help="Delete what is not used.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="With --prune: delete what is used as well.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --prune: only say what would be deleted.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List what a study's folder or the user's cache holds, and delete what is not used."""
    if study is not None and folder is None:
        raise PrefixcapError("--study FILE says what a study's folder is to keep: give its DIR too")
    for option, given in (("--all", everything), ("--dry-run", dry_run)):
        if given and not prune:
            raise PrefixcapError(f"{option} says what --prune does: give --prune too")
    with quiet_stdout():
        found = _found(folder, study)
        gone = [a for a in found if prune and (everything or a.state != "used")]
        if not dry_run:
            from prefixcap.study.execution.prune import prune as delete

            delete(gone)
    typer.echo(
        json.dumps(_answer(folder, found, gone, dry_run=dry_run))
        if as_json
        else _text(folder, found, gone, pruned=prune, dry_run=dry_run)
    )


def _found(folder: Path | None, file: Path | None) -> list[Artifact]:

    from prefixcap.study.execution import prune as study_cache

    if folder is None:
        return study_cache.of_user()
    return study_cache.of_study(folder, None if file is None else _study(file))


def _study(file: Path) -> Study:
    from prefixcap.plugin.registry import default_registry
    from prefixcap.study.definition import options

    return options.study(options.read_file(file), default_registry())


def _answer(
    folder: Path | None, found: Sequence[Artifact], gone: Sequence[Artifact], *, dry_run: bool
) -> dict[str, Any]:
    return {
        "folder": str(_place(folder)),
        "artifacts": [artifact.to_json() for artifact in found],
        "bytes": sum(artifact.size for artifact in found),
        "deleted": [str(artifact.path) for artifact in gone],
        "deleted_bytes": sum(artifact.size for artifact in gone),
        "dry_run": dry_run,
    }


def _text(
    folder: Path | None,
    found: Sequence[Artifact],
    gone: Sequence[Artifact],
    *,
    pruned: bool,
    dry_run: bool,
) -> str:
    place = _place(folder)
    if not found:
        return f"{place} holds nothing"
    lines = []
    for artifact in gone if pruned else found:
        path = artifact.path.relative_to(place)
        lines.append(f"{artifact.state:8} {size(artifact.size):>8}  {path}")
    if pruned:
        said = "would be deleted" if dry_run else "deleted"
        lines.append(f"{size(_sum(gone))} of {size(_sum(found))} {said}")
        return "\n".join(lines)
    parts = []
    for state in ("used", "unused", "leftover"):
        of_state = [artifact for artifact in found if artifact.state == state]
        if of_state:
            parts.append(f"{size(_sum(of_state))} {state}")
    lines.append(f"{place}: {', '.join(parts)}")
    if any(artifact.state != "used" for artifact in found):
        lines.append("delete what is not used with --prune")
    return "\n".join(lines)


def _place(folder: Path | None) -> Path:
    from prefixcap.util.runtime import cache_dir

    return cache_dir() if folder is None else folder


def _sum(artifacts: Sequence[Artifact]) -> int:
    return sum(artifact.size for artifact in artifacts)


def size(count: float) -> str:
    """Writes a number of bytes as people read it: `312 B`, `4.5 MB`."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
