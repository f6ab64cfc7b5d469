"""The registry: the components of all plugins, by kind and name."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cache, cached_property
from typing import TypeVar, cast

from prefixcap.errors import MOST_SHOWN, PrefixcapError, PrefixcapWarning, describe, nearest, shown
from prefixcap.interfaces.component import Component
from prefixcap.interfaces.kinds import KINDS
from prefixcap.plugin import host, specs
from prefixcap.plugin.host import Plugin

C = TypeVar("C", bound=Component)


Claims = list[tuple[Plugin, type[Component]]]


class Registry:
    """The components of plugins, by default of all installed ones, by kind and name.

    A built-in component wins against those of other plugins that claim its name.
    """

    def __init__(self, plugins: Iterable[Plugin] | None = None) -> None:
        self.plugins = tuple(host.installed() if plugins is None else plugins)
        self._warned: set[tuple[str, str]] = set()

    def __repr__(self) -> str:
        counts = (f"{len(self.names(kind))} of {kind}" for kind in KINDS)
        return f"<Registry: {', '.join(counts)}>"

    @cached_property
    def _claims(self) -> dict[tuple[str, str], Claims]:
        claims: dict[tuple[str, str], Claims] = defaultdict(list)
        for plugin in sorted(self.plugins, key=lambda plugin: not plugin.is_built_in):
            for component in plugin.components:
                own = claims[component.kind, component.name]
                # a class may be registered twice, such as by two entry points of one distribution
                if all(component is not known for _, known in own):
                    own.append((plugin, component))
        return claims

    def problems(self, plugin: Plugin) -> list[str]:
        """Return what a plugin did that it must not do, and which of its names are taken."""
        refused = [
            _refused(claims[0], (own, component))
            for claims in self._claims.values()
            for own, component in claims[1:]
            if own is plugin and claims[0][0].is_built_in
        ]
        return [*plugin.problems, *refused]

    def names(self, kind: str) -> list[str]:
        """Return the sorted names of a kind's components.

        Raises:
            PrefixcapError: If there is no such kind.
        """
        check_kind(kind)
        return sorted(name for known, name in self._claims if known == kind)

    def plugin_of(self, kind: str, name: str) -> Plugin:
        """Return the plugin that provides a component; raise like `config_class`."""
        return self._claim(kind, name)[0]

    def config_class(self, kind: str, name: str) -> type[Component]:
        """Return the config class with a kind and a name.

        Raises:
            PrefixcapError: If no plugin or more than one plugin provides it.
        """
        return self._claim(kind, name)[1]

    def class_named(self, class_name: str) -> type[Component]:
        """Return the config class with a Python name, such as "Beam".

        Raises:
            PrefixcapError: If there is none, or more than one.
        """
        built_in = [p for p in self.plugins if p.is_built_in]
        for plugins in (built_in, self.plugins):
            classes = [c for plugin in plugins for c in plugin.components]
            matches = [*dict.fromkeys(c for c in classes if c.__name__ == class_name)]
            if matches:
                break
        if len(matches) == 1:
            return matches[0]
        if matches:
            modules = " and ".join(c.__module__ for c in matches)
            problem = f"{class_name!r} is a config class in {modules}: import it from there"
        else:
            names = {c.__name__ for c in classes}
            problem = f"no config class {class_name!r}{nearest(class_name, names)}"
        raise PrefixcapError(problem)

    def parse(self, base: type[C], spec: str | C) -> C:
        """Parse a spec such as `beam:num_beams=5` into a config; return a config unchanged.

        Raises:
            PrefixcapError: If the component, a setting or its value is unknown, here or in a spec
                that a setting holds.
        """
        if isinstance(spec, base):
            return spec
        name, settings = specs.split(cast(str, spec))
        config_class = self.config_class(base.kind, name)
        config = cast(C, specs.structure(config_class, settings, f"{base.kind} {spec!r}"))
        try:  # report mistakes in nested specs now, not after a training
            config.subcomponents()
            config.external_digests()
        except (PrefixcapError, ValueError) as error:
            raise PrefixcapError(f"{base.kind} {spec!r}: {error}") from error
        except Exception as error:
            plugin = self.plugin_of(base.kind, name)
            if plugin.is_built_in:
                raise
            reason = f"the plugin {plugin} failed: {describe(error)}"
            raise PrefixcapError(f"{base.kind} {spec!r}: {reason}") from error
        return config

    def from_json(self, base: type[C], data: dict[str, object]) -> C:
        """Convert the output of `specs.to_json` back into a config.

        Raises:
            PrefixcapError: If the component, a setting or its value is unknown.
        """
        if not isinstance(data, Mapping):  # as in a file that was changed
            raise PrefixcapError(f"a {base.kind} is {shown(data)}, not an object with a name")
        settings = dict(data)
        name = str(settings.pop("name", ""))
        config_class = self.config_class(base.kind, name)
        return cast(C, specs.structure(config_class, settings, f"{base.kind} {name!r}"))

    def _claim(self, kind: str, name: str) -> tuple[Plugin, type[Component]]:
        check_kind(kind)
        claims = self._claims.get((kind, name), [])
        if len(claims) == 1:
            return claims[0]
        if claims and claims[0][0].is_built_in and not claims[1][0].is_built_in:
            if (kind, name) not in self._warned:
                self._warned.add((kind, name))
                for other in claims[1:]:
                    text = f"the plugin {other[0]}: {_refused(claims[0], other)}"
                    warnings.warn(text, PrefixcapWarning, stacklevel=4)
            return claims[0]
        if claims:
            owners = " and ".join(str(plugin) for plugin, _ in claims)
            raise PrefixcapError(
                f"more than one plugin provides the {kind} {name!r}: {owners}; "
                "uninstall one of them"
            )
        broken = [f"{p.name} ({p.error})" for p in self.plugins if p.error]
        more = f"; and {len(broken) - MOST_SHOWN} more" if len(broken) > MOST_SHOWN else ""
        failed = "; ".join(broken[:MOST_SHOWN]) + more
        hint = f"; plugins that failed to load: {failed}" if failed else ""
        raise PrefixcapError(f"no {kind} {name!r}{nearest(name, self.names(kind))}{hint}")


def _refused(winner: tuple[Plugin, type[Component]], other: tuple[Plugin, type[Component]]) -> str:
    component = other[1]
    return (
        f"its {component.kind} {component.name!r} is not used, as the built-in one of "
        f"{winner[0]} has that name: rename it"
    )


@cache
def default_registry() -> Registry:
    """Return the registry of the installed plugins, loaded once per process."""
    return Registry()


def check_kind(kind: str) -> None:
    """Raise a `PrefixcapError` if there is no such kind."""
    if kind not in KINDS:
        raise PrefixcapError(f"no kind {kind!r}{nearest(kind, KINDS)}")
