"""The plugin host: loads each entry point separately, so that no plugin breaks another."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from inspect import isabstract, isclass
from typing import TYPE_CHECKING, Any

import attrs
import pluggy

from prefixcap.plugin import hookspecs

if TYPE_CHECKING:
    from prefixcap.interfaces.component import Component

GROUP = "prefixcap"


@attrs.frozen
class Plugin:
    """A plugin, loaded or failed.

    Attributes:
        name: The name of the entry point.
        distribution: The distribution that provides it, with its version.
        components: The config classes.
        error: Why the plugin failed to load; "" if it did not.
        add_commands: Adds the plugin's commands to a `typer.Typer`; None if it has none.
    """

    name: str
    distribution: str
    components: tuple[type[Component], ...] = ()
    error: str = ""
    add_commands: Callable[[Any], None] | None = None

    def __str__(self) -> str:
        return f"{self.name!r} ({self.distribution})"


def installed(*, components: bool = True) -> list[Plugin]:
    """Load every installed plugin, sorted by name; without its components, this is faster."""
    points = sorted(entry_points(group=GROUP), key=lambda point: (point.name, _origin(point)))
    return [_load(point, components) for point in points]


def from_object(
    plugin: object, name: str, distribution: str = "this process", *, components: bool = True
) -> Plugin:
    """Ask a plugin (a module, or any object with a hook) for its components and commands."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    classes: list[type[Component]] = []
    try:
        manager.register(plugin, name=name)
        manager.check_pending()
        if not manager.get_hookcallers(plugin):
            raise TypeError(
                "it implements no hook: mark prefixcap_components or prefixcap_commands with "
                "hookimpl"
            )
        if components:
            classes = [each for answer in manager.hook.prefixcap_components() for each in answer]
            _check(classes)
    except Exception as error:  # a plugin can fail in any way
        return Plugin(name, distribution, error=f"{type(error).__name__}: {error}")
    commands = manager.hook.prefixcap_commands
    add_commands = (lambda app: commands(app=app)) if commands.get_hookimpls() else None
    return Plugin(name, distribution, tuple(classes), add_commands=add_commands)


def _load(point: EntryPoint, components: bool) -> Plugin:
    try:
        plugin = point.load()
    except Exception as error:  # an import can fail in any way
        message = f"importing {point.value} failed: {type(error).__name__}: {error}"
        return Plugin(point.name, _origin(point), error=message)
    return from_object(plugin, point.name, _origin(point), components=components)


def _origin(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "unknown"


def _check(components: list[type[Component]]) -> None:
    # imported here, because commands alone do not need it
    from prefixcap.interfaces.kinds import KINDS

    for component in components:
        if not (isclass(component) and issubclass(component, tuple(KINDS.values()))):
            raise TypeError(f"{component!r} is not a config class of a kind ({', '.join(KINDS)})")
        if isabstract(component):
            raise TypeError(f"{component.__name__} does not implement build()")
        if not isinstance(getattr(component, "name", None), str):
            raise TypeError(f"{component.__name__} has no name")
        if "__attrs_attrs__" not in vars(component) or "__attrs_own_setattr__" in vars(component):
            raise TypeError(f"{component.__name__} is not an attrs.frozen class")
