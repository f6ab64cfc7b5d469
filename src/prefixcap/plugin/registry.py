"""The registry: which components there are, from which plugins."""

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
    """Components by kind and name.

    Args:
        plugins: the plugins to draw from; those that are installed unless given.
    """

    def __init__(self, plugins: Iterable[Plugin] | None = None) -> None:
        self.plugins = tuple(host.installed() if plugins is None else plugins)

    @cached_property
    def _claims(self) -> dict[tuple[str, str], list[tuple[Plugin, type[Component]]]]:
        claims = defaultdict(list)
        for plugin in self.plugins:
            for component in plugin.components:
                claims[component.kind, component.name].append((plugin, component))
        return claims

    def names(self, kind: str) -> list[str]:
        """Returns the names of a kind's components, sorted.

        Raises:
            PrefixcapError: there is no such kind.
        """
        _check_kind(kind)
        return sorted(name for known, name in self._claims if known == kind)

    def plugin_of(self, kind: str, name: str) -> Plugin:
        """Returns the plugin that offers a component; raises as `config_class` does."""
        return self._claim(kind, name)[0]

    def config_class(self, kind: str, name: str) -> type[Component]:
        """Returns the config class of a name.

        Raises:
            PrefixcapError: nobody offers it (the nearest match and what failed to load are said),
                or two plugins claim the name.
        """
        return self._claim(kind, name)[1]

    def class_named(self, class_name: str) -> type[Component]:
        """Returns the config class that is called `class_name` in Python, such as "Beam".

        Raises:
            PrefixcapError: there is none, or more than one.
        """
        found = [c for plugin in self.plugins for c in plugin.components]
        matches = [c for c in found if c.__name__ == class_name]
        if len(matches) == 1:
            return matches[0]
        if matches:
            modules = " and ".join(c.__module__ for c in matches)
            raise PrefixcapError(f"{class_name!r} is a config class of {modules}: import it there")
        raise PrefixcapError(
            f"no config class {class_name!r}{nearest(class_name, {c.__name__ for c in found})}"
        )

    def parse(self, base: type[C], spec: str | C) -> C:
        """Turns `beam:num_beams=5` into a config of the kind of `base`; a config stays as it is.

        Args:
            base: a kind's base class, such as `DecoderConfig`.
            spec: a component's name, alone or with its settings, or a config already.

        Raises:
            PrefixcapError: the component, a setting or its value is not known, of it or of a
                component that a setting names.
        """
        if isinstance(spec, base):
            return spec
        name, settings = specs.split(cast(str, spec))
        config_class = self.config_class(base.kind, name)
        found = cast(C, specs.structure(config_class, settings, f"{base.kind} {spec!r}"))
        try:  # what is unknown within is said now, and not after a training
            found.subcomponents()
            found.external_digests()
        except PrefixcapError as error:
            raise PrefixcapError(f"{base.kind} {spec!r}: {error}") from error
        return found

    def from_json(self, base: type[C], data: dict[str, object]) -> C:
        """Turns what `specs.to_json` wrote back into a config.

        Raises:
            PrefixcapError: the component, a setting or its value is not known.
        """
        settings = dict(data)
        name = str(settings.pop("name", ""))
        config_class = self.config_class(base.kind, name)
        return cast(C, specs.structure(config_class, settings, f"{base.kind} {name!r}"))

    def _claim(self, kind: str, name: str) -> tuple[Plugin, type[Component]]:
        _check_kind(kind)
        claims = self._claims.get((kind, name), [])
        if len(claims) == 1:
            return claims[0]
        if claims:
            both = " and ".join(f"{plugin.name!r} ({plugin.distribution})" for plugin, _ in claims)
            raise PrefixcapError(
                f"the {kind} {name!r} is claimed by the plugins {both}; uninstall one of them"
            )
        raise PrefixcapError(f"no {kind} {name!r}{nearest(name, self.names(kind))}{self._failed()}")

    def _failed(self) -> str:
        failed = [f"{p.name} ({p.error})" for p in self.plugins if p.error]
        return f"; plugins that failed to load: {'; '.join(failed)}" if failed else ""


@cache
def default_registry() -> Registry:
    """Return the registry of the installed plugins, loaded once per process."""
    return Registry()


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise PrefixcapError(f"no kind {kind!r}{nearest(kind, KINDS)}")
