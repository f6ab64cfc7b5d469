"""The commands that plugins add to the shell."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

import attrs

from prefixcap.plugin.contained import contained
from prefixcap.plugin.host import Plugin

if TYPE_CHECKING:
    from typer.models import CommandInfo, TyperInfo


@attrs.define
class PluginCommands:
    """A plugin's usable commands and groups of them, by name, and the problems of the others."""

    plugin: Plugin
    commands: dict[str, CommandInfo | TyperInfo] = attrs.field(factory=dict)
    problems: list[str] = attrs.field(factory=list)


def plugin_commands(plugins: Iterable[Plugin], built_in: Collection[str]) -> list[PluginCommands]:
    """Collect the commands of plugins that have some; no plugin's mistake affects another."""
    results = [_collect(plugin) for plugin in plugins if plugin.add_commands]
    owners = defaultdict(list)
    for result in results:
        for name in result.commands:
            owners[name].append(str(result.plugin))
    for result in results:
        for name in list(result.commands):
            if name in built_in:
                problem = "is built in and cannot be replaced"
            elif len(owners[name]) > 1:
                problem = f"is added by {' and '.join(owners[name])}; uninstall one of them"
            else:
                continue
            del result.commands[name]
            result.problems.append(f"the command {name!r} {problem}")
    return results


def _collect(plugin: Plugin) -> PluginCommands:
    import typer

    app = typer.Typer()

    def add() -> dict[str, CommandInfo | TyperInfo]:
        assert plugin.add_commands is not None
        plugin.add_commands(app)
        typer.main.get_command(app)  # a signature that typer cannot read fails here
        groups = {str(info.name or ""): info for info in app.registered_groups}
        if "" in groups:
            raise TypeError("a group of commands has no name: app.add_typer(group, name=...)")
        return {_name(info): info for info in app.registered_commands} | groups

    added = contained(add)
    failed = [f"adding its commands failed: {added.error}"] if added.error else []
    return PluginCommands(plugin, added.result or {}, [*failed, *added.problems])


def _name(info: CommandInfo) -> str:
    from typer.main import get_command_name

    return info.name or get_command_name(getattr(info.callback, "__name__", ""))
