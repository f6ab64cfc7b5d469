"""The shell: the table of commands, and the one place where errors become sentences."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated

import typer

from prefixcap.cli.errors import print_error, status_of
from prefixcap.cli.output import echo, visible_output, warnings_as_sentences
from prefixcap.errors import PrefixcapError
from prefixcap.training.launcher import end_launched
from prefixcap.util.process.interrupts import Interrupts
from prefixcap.util.process.streams import drop_unwritable, replace_closed_streams
from prefixcap.util.runtime import tune_allocator

COMMANDS = {
    "bench": ("bench.bench", "Train, caption and score every combination of settings."),
    "train": ("train.train", "Train one captioner."),
    "features": ("features.features", "Encode images into a store of features, or show one."),
    "caption": ("caption.caption", "Caption images."),
    "eval": ("evaluate.evaluate_file", "Score predicted captions against references."),
    "export": ("evaluate.export", "Write predictions as results of COCO's evaluation server."),
    "compare": ("results.compare", "Show a study's table, or compare two sides."),
    "report": ("results.report", "Write a study as a page, figures and tables."),
    "bundle": ("publication.bundles.bundle", "Pack what a paper needs of a study."),
    "verify": ("publication.bundles.verify", "Compute a bundle's numbers again and compare."),
    "reproduce": ("publication.reproduce.reproduce", "Compare results with published ones."),
    "cache": ("cache.cache", "List what is cached, and delete what is unused."),
    "plugins": ("components.plugins", "Show every plugin, with the errors of those that failed."),
    "list": ("components.list_components", "List the components by kind."),
    "show": ("components.show", "Show a component and its settings."),
    "check": ("check.check", "Check a component against the conformance kit."),
}
"""The module and function, and the summary, of each built-in command.

A module is imported when its command is called, so that the others do not slow it down.
"""

STRICT = "--strict-plugins"


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
    strict_plugins: Annotated[
        bool, typer.Option(STRICT, help="Stop if a plugin is broken; of every command.")
    ] = False,
) -> None:
    """Image captioning with a prefix: train mappers, decode, score, compare."""
    if strict_plugins:
        _require_sound_plugins()
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
        module, _, function = COMMANDS[command][0].rpartition(".")
        app.command(command)(getattr(import_module(f"prefixcap.cli.{module}"), function))
        return app
    for name, (_, summary) in COMMANDS.items():
        app.command(name, help=summary)(_not_called)
    _add_plugin_commands(app)
    return app


def _not_called() -> None:
    raise NotImplementedError


def _require_sound_plugins() -> None:
    """Raise a `PrefixcapError` that names every plugin that failed to load."""
    from prefixcap.plugin.commands import plugin_commands
    from prefixcap.plugin.registry import default_registry

    plugins = default_registry().plugins
    problems = [(plugin, plugin.error) for plugin in plugins if plugin.is_broken]
    problems += [
        (result.plugin, problem)
        for result in plugin_commands(plugins, COMMANDS)
        for problem in result.problems
    ]
    if problems:
        broken = [f"{plugin}: {text}" for plugin, text in problems]
        raise PrefixcapError(f"{STRICT}: broken plugins: {'; '.join(broken)}")


def _add_plugin_commands(app: typer.Typer) -> None:
    from prefixcap.plugin import host
    from prefixcap.plugin.commands import plugin_commands

    plugins = host.installed(components=False)
    problems = [(p, f"it failed to load: {p.error}") for p in plugins if p.is_broken]
    for result in plugin_commands(plugins, COMMANDS):
        for info in result.commands.values():
            if isinstance(info, typer.models.CommandInfo):
                app.registered_commands.append(info)
            else:
                app.registered_groups.append(info)
        problems += [(result.plugin, problem) for problem in result.problems]
    for plugin, problem in problems:
        print_error(f"warning: the plugin {plugin}: {problem}")


def run(argv: Sequence[str] | None, interrupts: Interrupts) -> int:
    """Run one command; whatever goes wrong ends as one sentence and a status."""
    replace_closed_streams()
    with visible_output():
        status = _run(list(sys.argv[1:] if argv is None else argv), interrupts)
    if argv is None:
        drop_unwritable()
        end_launched(status)
    return status


def _run(words: list[str], interrupts: Interrupts) -> int:
    if words[:1] == ["--"]:
        del words[0]
    options = words[: words.index("--")] if "--" in words else words
    if STRICT in options:  # accepted anywhere, but known to the root alone
        words.remove(STRICT)
        words.insert(0, STRICT)
    name = next((word for word in words if word != STRICT), "")
    try:
        with warnings_as_sentences():
            tune_allocator()
            command = typer.main.get_command(build_app(name))
            with command.make_context("prefixcap", list(words)) as context:
                result = command.invoke(context)
            sys.stdout.flush()  # an output that is full or closed is noticed here
        status = result if isinstance(result, int) else 0
    except typer.Exit as done:
        status = done.exit_code
    except BaseException as error:
        return status_of(error, words, interrupts)
    if interrupts.received is not None:  # but something caught the exception
        print_error(interrupts.sentence)
        return interrupts.status
    return status
