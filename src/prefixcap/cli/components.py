"""What there is: `plugins`, `list` and `show`."""

from __future__ import annotations

import inspect
import json
import re
import shutil
import textwrap
from typing import Annotated, Any

import attrs
import typer

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.component import Component
from prefixcap.interfaces.kinds import KINDS
from prefixcap.plugin.registry import Registry, default_registry

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead.")]


def plugins(as_json: AsJson = False) -> None:
    """Show every plugin: what it brings, and what went wrong where something did."""
    found = default_registry().plugins
    if as_json:
        rows = [
            {
                "name": plugin.name,
                "distribution": plugin.distribution,
                "components": [f"{c.kind} {c.name}" for c in plugin.components],
                "error": plugin.error,
            }
            for plugin in found
        ]
        typer.echo(json.dumps(rows))
        return
    for plugin in found:
        typer.echo(f"{plugin.name} ({plugin.distribution})")
        for kind in KINDS:
            names = [c.name for c in plugin.components if c.kind == kind]
            if names:
                typer.echo(f"  {kind}: {', '.join(sorted(names))}")
        if plugin.error:
            typer.echo(f"  failed: {plugin.error}")


def list_components(
    kind: Annotated[str, typer.Argument(help="Only this kind, such as decoder.")] = "",
    as_json: AsJson = False,
) -> None:
    """List the components by kind, each with its first line of documentation."""
    registry = default_registry()
    kinds = [kind] if kind else list(KINDS)
    names = {each: registry.names(each) for each in kinds}
    if as_json:
        typer.echo(json.dumps(names))
        return
    width = max((len(name) for each in names.values() for name in each), default=0)
    for each, known in names.items():
        typer.echo(f"{each}:")
        for name in known:
            typer.echo(f"  {name:{width}}  {_summary(registry, each, name)}")


def show(
    kind: Annotated[str, typer.Argument(help="The kind, such as decoder.")],
    name: Annotated[str, typer.Argument(help="The component's name, such as beam.")],
    as_json: AsJson = False,
) -> None:
    """Show a component: what it does, its settings with their defaults, and who brings it."""
    registry = default_registry()
    component = registry.config_class(kind, name)
    plugin = registry.plugin_of(kind, name)
    meanings = _meanings(component)
    settings = [
        {
            "name": field.name,
            "meaning": meanings.get(field.name, ""),
            "type": _type(field),
            "default": _default(field),
            "required": field.default is attrs.NOTHING,
        }
        for field in attrs.fields(component)
    ]
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
        typer.echo(json.dumps(data))
        return
    typer.echo(f"{kind} {name}: {component.__qualname__} of {plugin.name} ({plugin.distribution})")
    about = (inspect.getdoc(component) or "").partition("\nAttributes:")[0].strip()
    typer.echo(f"\n{about}\n")
    typer.echo("settings:" if settings else "no settings")
    for setting in settings:
        required = setting["required"]
        shown = "required" if required else f"default {json.dumps(setting['default'])}"
        typer.echo(f"  {setting['name']}: {setting['type']}, {shown}")
        if setting["meaning"]:
            width = shutil.get_terminal_size((100, 24)).columns
            indent = " " * 6
            typer.echo(
                textwrap.fill(
                    str(setting["meaning"]),
                    width=max(40, width),
                    initial_indent=indent,
                    subsequent_indent=indent,
                )
            )


def _summary(registry: Registry, kind: str, name: str) -> str:
    try:
        doc = inspect.getdoc(registry.config_class(kind, name)) or ""
    except PrefixcapError as error:
        return f"unusable: {error}"
    return doc.partition("\n")[0]


def _meanings(component: type[Component]) -> dict[str, str]:
    """Reads what each setting means where it is documented: in the class, or in a base of it."""
    found: dict[str, str] = {}
    for base in reversed(component.__mro__):
        _, _, attributes = inspect.cleandoc(base.__dict__.get("__doc__") or "").partition(
            "Attributes:\n"
        )
        section = re.split(r"\n(?=\S)", attributes)[0]
        for name, meaning in re.findall(r"^    (\w+): ((?:.|\n(?!    \w+:|\S))*)", section, re.M):
            found[name] = " ".join(meaning.split())
    return found


def _type(field: attrs.Attribute[Any]) -> str:
    return field.type if isinstance(field.type, str) else getattr(field.type, "__name__", "?")


def _default(field: attrs.Attribute[Any]) -> object:
    default: Any = field.default
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        default = default.factory()
    if default is attrs.NOTHING:
        return None
    return list(default) if isinstance(default, tuple) else default
