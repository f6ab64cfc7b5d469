"""The plugin host: loads entry points one by one, so that a bad plugin never stops the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint, entry_points
from inspect import isabstract, isclass
from typing import Any

import attrs
import pluggy

from prefixcap.interfaces.component import Component
from prefixcap.interfaces.kinds import KINDS
from prefixcap.plugin import hookspecs

GROUP = "prefixcap"


@attrs.frozen
class Plugin:
    """What became of one plugin.

    Attributes:
        name: the entry point's name.
        distribution: the distribution that brings it, with its version.
        components: the config classes that it offers.
        error: why it was left out (or what was odd about it); "" where all is well.
        add_commands: adds the plugin's commands to the shell, where it has any.
    """

    name: str
    distribution: str
    components: tuple[type[Component], ...] = ()
    error: str = ""
    add_commands: Callable[[Any], None] | None = None


def installed() -> list[Plugin]:
    """Loads every plugin that is installed, in the order of their names."""
    points = sorted(entry_points(group=GROUP), key=lambda point: (point.name, _origin(point)))
    return [_load(point) for point in points]


def from_object(plugin: object, name: str, distribution: str = "this process") -> Plugin:
    """Asks one plugin object (a module or an instance with the hook) for its components."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(plugin, name=name)
        manager.check_pending()
        commands = bool(manager.hook.prefixcap_commands.get_hookimpls())
        if not commands and not manager.hook.prefixcap_components.get_hookimpls():
            raise TypeError("it implements no prefixcap_components hook (marked with hookimpl)")
        answers: Iterable[Iterable[type[Component]]] = manager.hook.prefixcap_components()
        components = tuple(component for answer in answers for component in answer)
        for component in components:
            _check(component)
    except Exception as error:  # whatever a plugin does wrong is its own affair
        return Plugin(name, distribution, error=f"{type(error).__name__}: {error}")
    return Plugin(
        name,
        distribution,
        components,
        add_commands=(lambda app: manager.hook.prefixcap_commands(app=app)) if commands else None,
    )


def _load(point: EntryPoint) -> Plugin:
    try:
        plugin = point.load()
    except Exception as error:  # an import can fail in any way
        message = f"importing {point.value} failed: {type(error).__name__}: {error}"
        return Plugin(point.name, _origin(point), error=message)
    return from_object(plugin, point.name, _origin(point))


def _origin(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "unknown"


def _check(component: object) -> None:
    bases = tuple(KINDS.values())
    if not (isclass(component) and issubclass(component, bases)):
        raise TypeError(f"{component!r} is not a config class of a kind ({', '.join(KINDS)})")
    if isabstract(component):
        raise TypeError(f"{component.__name__} does not implement build()")
    if not isinstance(getattr(component, "name", None), str):
        raise TypeError(f"{component.__name__} has no name")
    if "__attrs_attrs__" not in vars(component) or "__attrs_own_setattr__" in vars(component):
        raise TypeError(f"{component.__name__} is not an attrs.frozen class")
