"""The plugin host: loads each entry point separately, so that no plugin breaks another."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import Distribution, EntryPoint, distributions, entry_points
from inspect import isabstract, isclass
from itertools import islice
from types import ModuleType
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import attrs
import pluggy

from prefixcap.errors import PrefixcapWarning, describe, nearest, shown
from prefixcap.plugin import hookspecs, provenance
from prefixcap.plugin.contained import contained

if TYPE_CHECKING:
    from prefixcap.interfaces.component import Component
    from prefixcap.interfaces.events import Event, TrackerConfig

GROUP = "prefixcap"
BUILT_IN = "prefixcap"
"""The distribution whose components win against others of the same name."""
DISABLE = "PREFIXCAP_DISABLE"
"""The environment variable with a comma list of distributions or plugins not to load."""
MOST_COMPONENTS = 1000
"""The number of components at which a hook counts as endless."""
LONGEST_NAME = 64

_AT_IMPORT: WeakKeyDictionary[ModuleType, list[str]] = WeakKeyDictionary()
"""The problems of each plugin's module when it was imported, which happens once in a process."""


@attrs.frozen
class Plugin:
    """A plugin, loaded or failed.

    Attributes:
        name: The name of the entry point.
        distribution: The distribution that provides it, with its version.
        components: The config classes.
        error: Why the plugin failed to load; "" if it did not.
        add_commands: Adds the plugin's commands to a `typer.Typer`; None if it has none.
        on_event: Receives the events of trainings and studies; None if it wants none.
        trackers: The configs of its trackers.
        problems: What it did besides, such as printing, that a plugin must not do.
        disabled: Whether the user chose not to load it.
    """

    name: str
    distribution: str
    components: tuple[type[Component], ...] = ()
    error: str = ""
    add_commands: Callable[[Any], None] | None = None
    on_event: Callable[[Event], None] | None = None
    trackers: tuple[type[TrackerConfig], ...] = ()
    problems: tuple[str, ...] = ()
    disabled: bool = False

    def __str__(self) -> str:
        return f"{self.name!r} ({self.distribution})"

    @property
    def is_built_in(self) -> bool:
        """Whether it belongs to prefixcap itself."""
        return self.distribution.partition(" ")[0] == BUILT_IN

    @property
    def is_broken(self) -> bool:
        """Whether it failed to load; a disabled plugin did not."""
        return bool(self.error) and not self.disabled


def installed(*, components: bool = True) -> list[Plugin]:
    """Load every installed plugin, sorted by name; without its components, this is faster."""
    points, broken = _entry_points()
    points = sorted(points, key=lambda point: (point.name, _origin(point)))
    _check_disabled(points)
    plugins = [*broken, *(_load(point, components) for point in points)]
    return sorted(plugins, key=lambda plugin: plugin.name)


def from_object(
    plugin: object, name: str, distribution: str = "this process", *, components: bool = True
) -> Plugin:
    """Ask a plugin (a module, or any object with a hook) for its components and commands."""
    asked = contained(lambda: _ask(plugin, name, components))
    problems = tuple(asked.problems)
    if asked.result is None:
        return Plugin(name, distribution, error=asked.error, problems=problems)
    return Plugin(name, distribution, problems=problems, **asked.result)


def _ask(plugin: object, name: str, components: bool) -> dict[str, Any]:
    """Return the fields of a `Plugin` that its hooks give."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(plugin, name=name)
    manager.check_pending()
    if not manager.get_hookcallers(plugin):
        raise TypeError(
            "it implements no hook: mark prefixcap_components or another hook with hookimpl"
        )
    classes: list[type[Component]] = []
    trackers: list[type[TrackerConfig]] = []
    if components:
        for answer in manager.hook.prefixcap_components():
            classes += islice(answer, MOST_COMPONENTS + 1)
        _check(classes)
        for each in manager.hook.prefixcap_trackers():
            trackers += islice(each, MOST_COMPONENTS + 1)
        _check_trackers(trackers)
    commands, events = manager.hook.prefixcap_commands, manager.hook.prefixcap_events
    return {
        "components": tuple(dict.fromkeys(classes)),
        "add_commands": (lambda app: commands(app=app)) if commands.get_hookimpls() else None,
        "on_event": (lambda event: events(event=event)) if events.get_hookimpls() else None,
        "trackers": tuple(dict.fromkeys(trackers)),
    }


def _load(point: EntryPoint, components: bool) -> Plugin:
    if _names(point) & {_normalized(each) for each in _disabled()}:
        error = f"it is disabled by {DISABLE}"
        return Plugin(point.name, _origin(point), error=error, disabled=True)
    imported = contained(point.load)
    problems = imported.problems
    if imported.error:
        message = f"importing {point.value} failed: {imported.error}"
        return Plugin(point.name, _origin(point), error=message, problems=tuple(problems))
    if module := sys.modules.get(point.module):
        problems = _AT_IMPORT.setdefault(module, problems)
    plugin = from_object(imported.result, point.name, _origin(point), components=components)
    if point.dist is not None and not plugin.is_built_in:
        provenance.record(plugin.components, plugin.distribution, point.dist, point.module)
    return attrs.evolve(plugin, problems=tuple(dict.fromkeys((*problems, *plugin.problems))))


def _disabled() -> list[str]:
    return [each.strip() for each in os.environ.get(DISABLE, "").split(",") if each.strip()]


def _check_disabled(points: Iterable[EntryPoint]) -> None:
    known = {name for point in points for name in _names(point)}
    for name in _disabled():
        if _normalized(name) not in known:
            text = f"{DISABLE} names no plugin or distribution {name!r}{nearest(name, known)}"
            warnings.warn(text, PrefixcapWarning, stacklevel=3)


def _names(point: EntryPoint) -> set[str]:
    """Return the names by which a user may choose not to load a plugin."""
    return {_normalized(point.name), _normalized(_origin(point).rpartition(" ")[0])}


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _entry_points() -> tuple[list[EntryPoint], list[Plugin]]:
    """Return the entry points of plugins, and a failed plugin per unreadable list of them."""
    try:
        return list(entry_points(group=GROUP)), []
    except Exception:  # one distribution's list cannot be read, which is found out below
        # torch reads all lists when it is imported, and would fail
        os.environ.setdefault("TORCH_DEVICE_BACKEND_AUTOLOAD", "0")
        points: list[EntryPoint] = []
        broken: list[Plugin] = []
        for distribution in _distributions():
            try:
                points += distribution.entry_points.select(group=GROUP)
            except Exception as error:
                problem = _unreadable(distribution, error)
                broken += [problem] if problem else []
        return points, broken


def _distributions() -> Iterator[Distribution]:
    """Yield the distributions on the path; of several of one name, the first."""
    seen = set()
    for distribution in distributions():
        try:
            name = _normalized(distribution.metadata["Name"])
        except Exception:  # its metadata cannot be read
            name = str(id(distribution))
        if name not in seen:
            seen.add(name)
            yield distribution


def _unreadable(distribution: Distribution, error: Exception) -> Plugin | None:
    """Return a failed plugin for a distribution that is meant to have some."""
    try:
        text = distribution.read_text("entry_points.txt") or ""
        bad = [line for line in map(str.strip, text.splitlines()) if _is_garbage(line)]
        reason = f"the line {shown(bad[0])} is not of the form name = module" if bad else ""
        if f"[{GROUP}]" not in text:
            return None  # of other programs
    except Exception:  # not even a text
        reason = ""
    reason = reason or describe(error)
    try:
        name, version = distribution.metadata["Name"], distribution.version
    except Exception:
        name, version = "unknown", "unknown"
    return Plugin(
        f"{name}", f"{name} {version}", error=f"its entry_points.txt cannot be read: {reason}"
    )


def _is_garbage(line: str) -> bool:
    is_section = line.startswith("[") and line.endswith("]")
    return bool(line) and not line.startswith("#") and not is_section and "=" not in line


def _origin(point: EntryPoint) -> str:
    try:
        return f"{point.dist.name} {point.dist.version}" if point.dist else "unknown"
    except Exception:  # its metadata cannot be read
        return "unknown"


def _check(components: list[type[Component]]) -> None:
    # imported here, because commands alone do not need it
    from prefixcap.interfaces.kinds import KINDS

    if len(components) > MOST_COMPONENTS:
        raise TypeError(f"prefixcap_components returns more than {MOST_COMPONENTS} components")
    by_name: dict[tuple[str, str], type[Component]] = {}
    for component in components:
        if not (isclass(component) and issubclass(component, tuple(KINDS.values()))):
            raise TypeError(f"{component!r} is not a config class of a kind ({', '.join(KINDS)})")
        if isabstract(component):
            raise TypeError(f"{component.__name__} does not implement build()")
        _check_names(component)
        own = vars(component)
        if "__attrs_attrs__" not in own or "__attrs_own_setattr__" in own:
            raise TypeError(f"{component.__name__} is not an attrs.frozen class")
        _check_settings(component)
        other = by_name.setdefault((component.kind, component.name), component)
        if other is not component:
            raise TypeError(
                f"{other.__name__} and {component.__name__} both have the name {component.name!r}"
            )


def _check_trackers(trackers: list[type[TrackerConfig]]) -> None:
    if not trackers:
        return
    from prefixcap.interfaces.events import TrackerConfig

    for tracker in trackers:
        if not (isclass(tracker) and issubclass(tracker, TrackerConfig)) or isabstract(tracker):
            raise TypeError(f"{tracker!r} is not a config class of a tracker with build()")
        if not isinstance(getattr(tracker, "name", None), str):
            raise TypeError(f"{tracker.__name__} has no name")
        _check_settings(tracker)


def _check_names(component: type[Component]) -> None:
    from prefixcap.interfaces.kinds import KINDS

    title, name = component.__name__, getattr(component, "name", None)
    if not isinstance(name, str):
        raise TypeError(f"{title} has no name: give it one as in name: ClassVar[str] = 'mine'")
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", name):
        raise TypeError(
            f"{title} has the name {shown(name)}, which cannot be written in specs and file "
            "names: use letters, digits and dashes"
        )
    if len(name) > LONGEST_NAME:
        raise TypeError(f"{title} has a name of {len(name)} letters; {LONGEST_NAME} are allowed")
    if component.kind not in KINDS or not issubclass(component, KINDS[component.kind]):
        raise TypeError(f"{title} has the kind {component.kind!r}, which is not its base class's")
    if not (isinstance(component.version, str) and component.version):
        raise TypeError(f"{title} has the version {component.version!r}, which must be a text")


def _check_settings(component: type[Component] | type[TrackerConfig]) -> None:
    from prefixcap.plugin import setting_types, specs

    try:
        types = specs.hints(component)
    except Exception as error:
        raise TypeError(
            f"the types of {component.__name__}'s settings cannot be read: {describe(error)}; "
            "names in annotations must be imported when the program runs"
        ) from error
    for field in attrs.fields(component):
        if not field.init:
            continue
        if field.name not in types or not setting_types.is_known(types[field.name]):
            type_ = str(types.get(field.name, "none")).replace("typing.", "")
            raise TypeError(
                f"the setting {field.name!r} of {component.__name__} has the type {type_}, "
                f"which cannot be written in a spec: use {setting_types.KNOWN}"
            )
