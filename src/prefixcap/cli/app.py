"""The app: every command, and the one place where errors become sentences."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from prefixcap.cli import bench, cache, caption, check, compare, components, evaluate, report, train
from prefixcap.cli.errors import status_of
from prefixcap.util.runtime import tune_allocator

app = typer.Typer(
    name="prefixcap",
    help="Image captioning with a prefix: train mappers, decode, score, compare.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        from prefixcap import __version__

        typer.echo(f"prefixcap {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Image captioning with a prefix: train mappers, decode, score, compare."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


app.command("bench")(bench.bench)
app.command("train")(train.train)
app.command("caption")(caption.caption)
app.command("eval")(evaluate.evaluate_file)
app.command("compare")(compare.compare)
app.command("report")(report.report)
app.command("cache")(cache.cache)
app.command("plugins")(components.plugins)
app.command("list")(components.list_components)
app.command("show")(components.show)
app.command("check")(check.check)


BUILT_IN = frozenset(command.name for command in app.registered_commands)


def _add_plugin_commands(words: Sequence[str]) -> None:
    """Let plugins add commands, unless a built-in one is called, which need not wait for them."""
    if any(word in BUILT_IN for word in words[:1]) or len(app.registered_commands) > len(BUILT_IN):
        return
    from prefixcap.plugin.registry import default_registry

    for plugin in default_registry().plugins:
        if plugin.add_commands is not None:
            plugin.add_commands(app)


def run(argv: Sequence[str] | None = None) -> int:
    """Runs one command; an error of the input ends as a sentence and a status of 2.

    Args:
        argv: the words after `prefixcap`; those of this process unless given.
    """
    tune_allocator()
    words = list(sys.argv[1:] if argv is None else argv)
    _add_plugin_commands(words)
    try:
        result = typer.main.get_command(app)(
            args=words, prog_name="prefixcap", standalone_mode=False
        )
    except (Exception, KeyboardInterrupt) as error:
        status = status_of(error)
        if status is None:
            raise
        return status
    return result if isinstance(result, int) else 0
