"""`prefixcap plugins`, `list` and `show`: what is installed."""

from __future__ import annotations

import inspect
import json
import re
import shutil
import textwrap
from collections import defaultdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prefixcap.cli.errors import print_error
from prefixcap.cli.output import echo, echo_json
from prefixcap.errors import PrefixcapError, nearest
from prefixcap.util.text import visible

if TYPE_CHECKING:
    import attrs

    from prefixcap.interfaces.component import Component
    from prefixcap.plugin.host import Plugin
    from prefixcap.plugin.registry import Registry

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead.")]


def plugins(as_json: AsJson = False) -> None:
    """Show every plugin: its components, its commands, and the error if it failed."""
    from prefixcap.plugin.registry import default_registry

    rows = _rows(default_registry())
    if as_json:
        echo_json(rows)
        return
    for row in rows:
        echo(f"{row['name']} ({row['distribution']})")
        names = defaultdict(list)
        for kind, name in (text.split(" ") for text in row["components"]):
            names[kind].append(name)
        for kind, known in {**names, "commands": row["commands"]}.items():
            if known:
                echo(f"  {kind}: {', '.join(sorted(known))}")
        if row["disabled"]:
            echo("  disabled by PREFIXCAP_DISABLE")
        elif row["error"]:
            echo(f"  failed: {visible(row['error'])}")
        for problem in row["problems"]:
            echo(f"  warning: {visible(problem)}")


def _rows(registry: Registry) -> list[dict[str, Any]]:
    from prefixcap.cli.app import COMMANDS
    from prefixcap.plugin.commands import PluginCommands, plugin_commands

    added = {id(each.plugin): each for each in plugin_commands(registry.plugins, COMMANDS)}

    def row(plugin: Plugin) -> dict[str, Any]:
        own = added.get(id(plugin), PluginCommands(plugin))
        return {
            "name": plugin.name,
            "distribution": plugin.distribution,
            "components": [f"{c.kind} {c.name}" for c in plugin.components],
            "commands": sorted(own.commands),
            "error": plugin.error or "; ".join(own.problems),
            "problems": registry.problems(plugin),
            "disabled": plugin.disabled,
        }

    return [row(plugin) for plugin in registry.plugins]


def list_components(
    kind: Annotated[str, typer.Argument(help="Only this kind, such as decoder.")] = "",
    as_json: AsJson = False,
) -> None:
    """List the components by kind, each with the first line of its documentation."""
    from prefixcap.interfaces.kinds import KINDS
    from prefixcap.plugin.registry import default_registry

    registry = default_registry()
    if kind and kind not in KINDS and (owners := _kinds_of(registry, kind)):
        raise PrefixcapError(f"{kind!r} is no kind: see `prefixcap show {owners[0]} {kind}`")
    for plugin in registry.plugins:
        if plugin.is_broken:
            print_error(f"warning: the plugin {plugin} is missing: {plugin.error}")
    names = {each: registry.names(each) for each in ([kind] if kind else KINDS)}
    if as_json:
        echo_json(names)
        return
    width = max((len(name) for each in names.values() for name in each), default=0)
    for each, known in names.items():
        echo(f"{each}:")
        for name in known:
            echo(f"  {name:{width}}  {_summary(registry, each, name)}")


def show(
    kind: Annotated[str, typer.Argument(help="The kind, such as decoder.")],
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The component's name, such as beam.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Show a component: its documentation, its settings with their defaults, and its plugin."""
    from prefixcap.plugin.registry import default_registry

    check_kind_and_name(default_registry(), "show", kind, name)
    name = name.partition(":")[0]  # a spec names a component too
    component = default_registry().config_class(kind, name)
    plugin = default_registry().plugin_of(kind, name)
    settings = _settings(component)
    if as_json:
        data = {
            "kind": kind,
            "name": name,
            "class": f"{component.__module__}.{component.__qualname__}",
            "plugin": plugin.name,
            "distribution": plugin.distribution,
            "version": component.version,
            "settings": settings,
            "doc": inspect.getdoc(component) or "",
        }
        echo_json(data)
        return
    echo(f"{kind} {name}: {component.__qualname__} of {plugin.name} ({plugin.distribution})")
    about = (inspect.getdoc(component) or "").partition("\nAttributes:")[0].strip()
    echo(f"\n{about}\n")
    echo("settings:" if settings else "no settings")
    for setting in settings:
        default = f"default {json.dumps(setting['default'], default=str)}"
        shown = "required" if setting["required"] else default
        echo(f"  {setting['name']}: {setting['type']}, {shown}")
        if setting["meaning"]:
            width = max(40, shutil.get_terminal_size((100, 24)).columns)
            echo(textwrap.indent(textwrap.fill(str(setting["meaning"]), width - 6), " " * 6))


def check_kind_and_name(registry: Registry, command: str, kind: str, name: str) -> None:
    """Check that a command got both, in this order.

    Raises:
        PrefixcapError: If not; the message says what to write.
    """
    from prefixcap.interfaces.kinds import KINDS
    from prefixcap.plugin.registry import check_kind

    if kind in KINDS and name:
        return
    if kind in KINDS:
        hint = nearest("", registry.names(kind))
        raise PrefixcapError(f"{command} needs the name of a component of the kind {kind!r}{hint}")
    if owners := [name] if name in KINDS else _kinds_of(registry, kind):
        cure = " or ".join(f"`prefixcap {command} {owner} {kind}`" for owner in owners)
        raise PrefixcapError(f"{command} needs a kind before the name: write {cure}")
    check_kind(kind)


def _kinds_of(registry: Registry, spec: str) -> list[str]:
    """Return the kinds that have a component that a spec names."""
    from prefixcap.interfaces.kinds import KINDS

    return [kind for kind in KINDS if spec.partition(":")[0] in registry.names(kind)]


def _summary(registry: Registry, kind: str, name: str) -> str:
    try:
        doc = inspect.getdoc(registry.config_class(kind, name)) or ""
    except PrefixcapError as error:
        return f"unusable: {error}"
    return doc.partition("\n")[0]


def _settings(component: type[Component]) -> list[dict[str, object]]:
    import attrs

    from prefixcap.plugin.specs import default_of

    meanings = _meanings(component)

    def row(field: attrs.Attribute[Any]) -> dict[str, object]:
        default = default_of(field)
        return {
            "name": field.name,
            "meaning": meanings.get(field.name, ""),
            "type": _type(field),
            "default": None if default is attrs.NOTHING else default,
            "required": default is attrs.NOTHING,
        }

    return [row(field) for field in attrs.fields(component)]


def _meanings(component: type[Component]) -> dict[str, str]:
    """Read each setting's meaning from the docstrings of the class and its bases."""
    meanings: dict[str, str] = {}
    for base in reversed(component.__mro__):
        _, _, attributes = inspect.cleandoc(base.__dict__.get("__doc__") or "").partition(
            "Attributes:\n"
        )
        section = re.split(r"\n(?=\S)", attributes)[0]
        for name, meaning in re.findall(r"^    (\w+): ((?:.|\n(?!    \w+:|\S))*)", section, re.M):
            meanings[name] = " ".join(meaning.split())
    return meanings


def _type(field: attrs.Attribute[Any]) -> str:
    if isinstance(field.type, str):
        return field.type
    is_class = isinstance(field.type, type) and not hasattr(field.type, "__args__")
    return field.type.__name__ if is_class and field.type else str(field.type)
