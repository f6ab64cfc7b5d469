"""The shell: the table of commands, and the one place where errors become sentences."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated

import typer

from prefixcap.cli.errors import print_error, status_of
from prefixcap.cli.output import echo, visible_output
from prefixcap.util.runtime import tune_allocator

COMMANDS = {
    "bench": ("bench.bench", "Train, caption and score every combination of settings."),
    "train": ("train.train", "Train one captioner."),
    "caption": ("caption.caption", "Caption images."),
    "eval": ("evaluate.evaluate_file", "Score predicted captions against references."),
    "compare": ("compare.compare", "Show a study's table, or compare two sides."),
    "report": ("report.report", "Write a study as a page, figures and tables."),
    "cache": ("cache.cache", "List what is cached, and delete what is unused."),
    "plugins": ("components.plugins", "Show every plugin, with the errors of those that failed."),
    "list": ("components.list_components", "List the components by kind."),
    "show": ("components.show", "Show a component and its settings."),
    "check": ("check.check", "Check a component against the conformance kit."),
}
"""The module and function, and the summary, of each built-in command.

A module is imported when its command is called, so that the others do not slow it down.
"""


def _version(wanted: bool) -> None:
    if wanted:
        from prefixcap import __version__

        echo(f"prefixcap {__version__}")
        raise typer.Exit


def root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Image captioning with a prefix: train mappers, decode, score, compare."""
    if context.invoked_subcommand is None:
        echo(context.get_help())


def build_app(command: str = "") -> typer.Typer:
    """Build the shell for a command that is called.

    If it is built in, the shell has no other one; otherwise it has those of plugins, and the
    built-in ones by name and summary only.
    """
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.callback(invoke_without_command=True)(root)
    if command in COMMANDS:
        module, function = COMMANDS[command][0].split(".")
        app.command(command)(getattr(import_module(f"prefixcap.cli.{module}"), function))
        return app
    for name, (_, summary) in COMMANDS.items():
        app.command(name, help=summary)(_not_called)
    _add_plugin_commands(app)
    return app


def _not_called() -> None:
    raise NotImplementedError


def _add_plugin_commands(app: typer.Typer) -> None:
    from prefixcap.plugin import host
    from prefixcap.plugin.commands import plugin_commands

    plugins = host.installed(components=False)
    problems = [
        (plugin, f"it failed to load: {plugin.error}") for plugin in plugins if plugin.error
    ]
    for result in plugin_commands(plugins, COMMANDS):
        app.registered_commands += result.commands.values()
        problems += [(result.plugin, problem) for problem in result.problems]
    for plugin, problem in problems:
        print_error(f"warning: the plugin {plugin}: {problem}")


def run(argv: Sequence[str] | None = None) -> int:
    """Run one command; an error of the input ends as a sentence and status 2."""
    with visible_output():
        return _run(sys.argv[1:] if argv is None else argv)


def _run(argv: Sequence[str]) -> int:
    tune_allocator()
    words = list(argv)
    if words[:1] == ["--"]:
        del words[0]
    try:
        command = typer.main.get_command(build_app(words[0] if words else ""))
        result = command(args=words, prog_name="prefixcap", standalone_mode=False)
    except (Exception, KeyboardInterrupt) as error:
        status = status_of(error)
        if status is None:
            raise
        return status
    return result if isinstance(result, int) else 0
