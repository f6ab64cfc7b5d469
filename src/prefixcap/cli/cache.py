"""`prefixcap cache`: list stored artifacts and their sizes, and delete those that are not used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prefixcap.cli.options import Trust
from prefixcap.cli.output import echo, echo_json, quiet_stdout
from prefixcap.errors import PrefixcapError

if TYPE_CHECKING:
    from prefixcap.study.execution.prune import Artifact


def cache(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="DIR", help="A study's folder. (default: the user's cache)"),
    ] = None,
    study: Annotated[
        Path | None,
        typer.Option(help="A study file that decides what is used, instead of the last study run."),
    ] = None,
    prune: Annotated[bool, typer.Option("--prune", help="Delete what is not used.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="With --prune: delete what is used as well.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --prune: only list what would be deleted.")
    ] = False,
    trust: Trust = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List what a study's folder or the user's cache holds, and delete what is not used."""
    if study is not None and folder is None:
        raise PrefixcapError("--study FILE needs the study's folder: give its DIR too")
    for option, chosen in (("--all", everything), ("--dry-run", dry_run)):
        if chosen and not prune:
            raise PrefixcapError(f"{option} has an effect only with --prune: give --prune too")
    from prefixcap.study.execution import prune as pruning
    from prefixcap.util.runtime import cache_dir

    with quiet_stdout():
        artifacts = pruning.of_user() if folder is None else _of_study(folder, study)
        kept = (pruning.LINK,) if everything else (pruning.USED, pruning.LINK)
        deleted = [a for a in artifacts if prune and a.state not in kept]
        if not dry_run:
            pruning.prune(deleted)
    place = cache_dir() if folder is None else folder
    if as_json:
        answer = {
            "folder": str(place),
            "artifacts": [artifact.to_json() for artifact in artifacts],
            "bytes": _sum(artifacts),
            "deleted": [str(artifact.path) for artifact in deleted],
            "deleted_bytes": _sum(deleted),
            "dry_run": dry_run,
        }
        echo_json(answer)
    elif not artifacts:
        echo(f"{place} holds nothing")
    elif prune:
        what = "would be deleted" if dry_run else "deleted"
        total = f"{size(_sum(deleted))} of {size(_sum(artifacts))} {what}"
        echo("\n".join([*_lines(place, deleted), total]))
    else:
        echo("\n".join([*_lines(place, artifacts), *_summary(place, artifacts)]))


def _of_study(folder: Path, file: Path | None) -> list[Artifact]:
    from prefixcap.plugin.registry import default_registry
    from prefixcap.study.definition import options
    from prefixcap.study.execution import prune

    study = options.study(options.read_file(file), default_registry()) if file else None
    return prune.of_study(folder, study)


def _lines(place: Path, artifacts: Sequence[Artifact]) -> list[str]:
    return [f"{a.state:8} {size(a.size):>8}  {a.path.relative_to(place)}" for a in artifacts]


def _summary(place: Path, artifacts: Sequence[Artifact]) -> list[str]:
    from prefixcap.study.execution.prune import LEFTOVER, LINK, UNUSED, USED

    states = (USED, UNUSED, LEFTOVER, LINK)
    by_state = {state: [a for a in artifacts if a.state == state] for state in states}
    parts = [f"{size(_sum(each))} {state}" for state, each in by_state.items() if each]
    unused = by_state[UNUSED] or by_state[LEFTOVER]
    hint = ["delete what is not used with --prune"] if unused else []
    return [f"{place}: {', '.join(parts)}", *hint]


def _sum(artifacts: Sequence[Artifact]) -> int:
    return sum(artifact.size for artifact in artifacts)


def size(count: float) -> str:
    """Format a number of bytes for people: `312 B`, `4.5 MB`."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
