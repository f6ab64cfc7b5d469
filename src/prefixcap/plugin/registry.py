"""The registry: the components of all plugins, by kind and name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import cache, cached_property
from typing import TypeVar, cast

from prefixcap.errors import PrefixcapError, nearest
from prefixcap.interfaces.component import Component
from prefixcap.interfaces.kinds import KINDS
from prefixcap.plugin import host, specs
from prefixcap.plugin.host import Plugin

C = TypeVar("C", bound=Component)


class Registry:
    """The components of plugins, by default of all installed ones, by kind and name."""

    def __init__(self, plugins: Iterable[Plugin] | None = None) -> None:
        self.plugins = tuple(host.installed() if plugins is None else plugins)

    def __repr__(self) -> str:
        counts = (f"{len(self.names(kind))} of {kind}" for kind in KINDS)
        return f"<Registry: {', '.join(counts)}>"

    @cached_property
    def _claims(self) -> dict[tuple[str, str], list[tuple[Plugin, type[Component]]]]:
        claims = defaultdict(list)
        for plugin in self.plugins:
            for component in plugin.components:
                claims[component.kind, component.name].append((plugin, component))
        return claims

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
        classes = [c for plugin in self.plugins for c in plugin.components]
        matches = [c for c in classes if c.__name__ == class_name]
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
        except PrefixcapError as error:
            raise PrefixcapError(f"{base.kind} {spec!r}: {error}") from error
        return config

    def from_json(self, base: type[C], data: dict[str, object]) -> C:
        """Convert the output of `specs.to_json` back into a config.

        Raises:
            PrefixcapError: If the component, a setting or its value is unknown.
        """
        settings = dict(data)
        name = str(settings.pop("name", ""))
        config_class = self.config_class(base.kind, name)
        return cast(C, specs.structure(config_class, settings, f"{base.kind} {name!r}"))

    def _claim(self, kind: str, name: str) -> tuple[Plugin, type[Component]]:
        check_kind(kind)
        claims = self._claims.get((kind, name), [])
        if len(claims) == 1:
            return claims[0]
        if claims:
            owners = " and ".join(str(plugin) for plugin, _ in claims)
            raise PrefixcapError(
                f"more than one plugin provides the {kind} {name!r}: {owners}; "
                "uninstall one of them"
            )
        failed = "; ".join(f"{p.name} ({p.error})" for p in self.plugins if p.error)
        hint = f"; plugins that failed to load: {failed}" if failed else ""
        raise PrefixcapError(f"no {kind} {name!r}{nearest(name, self.names(kind))}{hint}")


@cache
def default_registry() -> Registry:
    """Return the registry of the installed plugins, loaded once per process."""
    return Registry()


def check_kind(kind: str) -> None:
    """Raise a `PrefixcapError` if there is no such kind."""
    if kind not in KINDS:
        raise PrefixcapError(f"no kind {kind!r}{nearest(kind, KINDS)}")
