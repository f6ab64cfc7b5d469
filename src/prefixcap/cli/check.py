"""`prefixcap check`: the conformance kit from the shell."""

from __future__ import annotations

from typing import Annotated

import typer

from prefixcap.cli.components import check_kind_and_name
from prefixcap.cli.options import Trust
from prefixcap.cli.output import echo, quiet_stdout
from prefixcap.errors import PrefixcapError


def check(
    kind: Annotated[str, typer.Argument(help="The kind, such as decoder.")],
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The component, such as beam:num_beams=3.")
    ] = "",
    trust: Trust = None,
) -> None:
    """Check a component against the conformance kit; the exit status is 1 if it breaks a rule."""
    from prefixcap.interfaces.kinds import KINDS
    from prefixcap.plugin.registry import default_registry

    registry = default_registry()
    check_kind_and_name(registry, "check", kind, name)
    config = registry.parse(KINDS[kind], name)
    with quiet_stdout():
        from prefixcap.testing import run_checks

        results = run_checks(config, registry)
    for result in results:
        mark = "BROKEN" if not result.ok else "skipped" if result.skipped else "ok"
        reason = result.problem or result.skipped
        detail = f"\n         {reason}" if reason else ""
        echo(f"{mark:8} {result.name}: {result.requirement}{detail}")
    broken = [result.name for result in results if not result.ok]
    if not results:
        raise PrefixcapError(f"the conformance kit has no checks for the {kind} {name!r}")
    skipped = sum(bool(result.skipped) for result in results)
    summary = f"{len(results) - len(broken) - skipped} of {len(results)} rules hold"
    echo(f"{summary}, {skipped} skipped" if skipped else summary)
    if broken:
        raise typer.Exit(1)
