"""`prefixcap reproduce`: published results, their commands, and whether own results agree."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prefixcap.cli.output import echo, echo_json, quiet_stdout
from prefixcap.errors import PrefixcapError

if TYPE_CHECKING:
    from prefixcap.publication.published.targets import Target
    from prefixcap.publication.published.verdicts import PublishedComparison, Verdict


def reproduce(
    name: Annotated[
        str | None, typer.Argument(help="A published result, such as clipcap-mlp.")
    ] = None,
    study: Annotated[Path | None, typer.Option(help="A study's folder to compare with it.")] = None,
    predictions: Annotated[
        list[Path] | None,
        typer.Option(help="A file of predictions to compare with it; repeat it for other seeds."),
    ] = None,
    references: Annotated[
        Path | None, typer.Option(help="A file of references, if the predictions have none.")
    ] = None,
    common: Annotated[
        bool, typer.Option("--common", help="Ignore images that are in only one of the files.")
    ] = False,
    target: Annotated[
        Path | None, typer.Option(help="A file (TOML) of other published results.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List published results, show the command of one, or compare own results with it.

    A comparison has the exit status 0 if all scores that are comparable agree, and 1 otherwise.
    """
    from prefixcap.publication.published.targets import find, published, read

    targets = published() if target is None else read(target)
    if name is None and target is not None and len(targets) == 1:
        name = next(iter(targets))
    given = [("--study", study), ("--predictions", predictions or None)]
    flags = [flag for flag, value in given if value is not None]
    if len(flags) > 1 or (flags and name is None):
        raise PrefixcapError(
            f"{' and '.join(flags)} "
            + ("cannot be compared together" if len(flags) > 1 else "needs the name of a result")
        )
    if (references or common) and predictions is None:
        raise PrefixcapError("--references and --common are for --predictions")
    if name is None:
        _list(targets, as_json)
        return
    chosen = find(name, targets)
    if not flags:
        echo_json(chosen.to_json()) if as_json else echo(_about(chosen))
        return
    result = _compare(chosen, study, predictions or [], references, common)
    echo_json(result.to_json()) if as_json else echo(_table(result))
    if not result.agrees:
        raise typer.Exit(1)


def _compare(
    target: Target,
    study: Path | None,
    predictions: list[Path],
    references: Path | None,
    common: bool,
) -> PublishedComparison:
    from prefixcap.cli.progress import reporter
    from prefixcap.publication.published.verdicts import compare_files, compare_study

    with quiet_stdout():
        if study is not None:
            return compare_study(target, study)
        return compare_files(target, predictions, references, common=common, reporter=reporter())


def _list(targets: Mapping[str, Target], as_json: bool) -> None:
    if as_json:
        echo_json({name: target.to_json() for name, target in targets.items()})
        return
    width = max(map(len, targets))
    for name, target in targets.items():
        values = ", ".join(f"{score} {value.text}" for score, value in target.values.items())
        echo(f"{name:{width}}  {target.source}\n{'':{width}}  {values}")


def _about(target: Target) -> str:
    values = ", ".join(f"{score} {value.text}" for score, value in target.values.items())
    lines = [f"{target.name}: {target.source}", f"published: {values}"]
    if target.images:
        data = f", read by {' or '.join(target.datasets)}" if target.datasets else ""
        lines.append(f"images: {target.images:,}{data}")
    lines.append(f"command: {target.command or 'none yet'}")
    needs = [f"{key} {target.settings[key]}" for key in _NEEDS if key in target.settings]
    if needs or target.needs:
        lines.append(f"needs: {'; '.join([*needs, *target.needs])}")
    lines += [f"note: {text}" for text in target.notes]
    lines.append(f"compare: prefixcap reproduce {target.name} --study runs/{target.name}")
    return "\n".join(lines)


_NEEDS = ("dataset", "encoder", "lm")


def _table(result: PublishedComparison) -> str:
    from prefixcap.publication.published.verdicts import summary

    target = result.target
    lines = [f"{target.name}: {target.source}", f"compared: {result.of}"]
    rows = [("score", "published", "here", "verdict")]
    rows += [
        (
            each.score,
            each.published.text,
            _own(each, target.scale),
            f"{each.verdict} {each.reason}".strip(),
        )
        for each in result.verdicts
    ]
    widths = [max(len(row[place]) for row in rows) for place in range(3)]
    for row in rows:
        first = "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=False))
        lines.append(f"{first}  {row[3]}")
    over = "and seeds " if result.seeds > 1 else ""
    lines.append(
        f"here: the score and its {result.level:.0%} interval over images {over}"
        f"({result.images:,} images)" + (f", times {target.scale:g}" if target.scale != 1 else "")
    )
    lines += [f"note: {text}" for text in result.notes]
    return "\n".join([*lines, summary(result.verdicts)])


def _own(verdict: Verdict, scale: float) -> str:
    own = verdict.own
    if own is None:
        return ""
    if own.low is None or own.high is None:
        return f"{scale * own.value:.4g}"
    return f"{scale * own.value:.4g} [{scale * own.low:.4g}, {scale * own.high:.4g}]"
