"""Build components so that an error of a plugin's code is a sentence that names the plugin."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.bridge import Bridge
from prefixcap.interfaces.component import Component
from prefixcap.interfaces.dataset import Dataset
from prefixcap.interfaces.decoder import Decoder
from prefixcap.interfaces.encoder import Encoder
from prefixcap.interfaces.language_model import LanguageModel
from prefixcap.interfaces.launching.launcher import Launcher
from prefixcap.interfaces.metric import Metric
from prefixcap.interfaces.retrieval.prompt import Prompter
from prefixcap.interfaces.retrieval.retriever import Retriever
from prefixcap.interfaces.tuning import Tuning
from prefixcap.plugin import specs
from prefixcap.plugin.contained import explained
from prefixcap.plugin.host import Plugin
from prefixcap.plugin.registry import default_registry
from prefixcap.util.memory import out_of_memory
from prefixcap.util.process.interrupts import interrupted

BUILDS: dict[str, type] = {
    "encoder": Encoder,
    "bridge": Bridge,
    "lm": LanguageModel,
    "tuning": Tuning,
    "decoder": Decoder,
    "dataset": Dataset,
    "metric": Metric,
    "retriever": Retriever,
    "prompt": Prompter,
    "launcher": Launcher,
}
"""What components of a kind build; a mapper builds a module of torch, which is heavy to import."""


def build(config: Component, *arguments: Any) -> Any:
    """Build a component.

    Raises:
        PrefixcapError: If a plugin's `build()` fails, ends the process, or returns something else;
            errors of built-in components are raised as they are.
    """
    with naming_plugin(config, "cannot be built"):
        built = config.build(*arguments)  # type: ignore[attr-defined]  # each kind has its own
        if config.kind == "mapper":
            from torch.nn import Module

            expected: type = Module
        else:
            expected = BUILDS[config.kind]
        if not isinstance(built, expected):
            article = "an" if expected.__name__[0] in "AEIOU" else "a"
            raise TypeError(
                f"build() returned {'None' if built is None else type(built).__name__} instead of "
                f"{article} {expected.__name__}"
            )
    return built


@contextmanager
def naming_plugin(config: Component, problem: str) -> Iterator[None]:
    """Turn errors of a plugin's component into a sentence; `problem` says what failed.

    Errors of the machine, and of built-in components, are raised as they are.

    Raises:
        PrefixcapError: With the names of component and plugin.
    """
    try:
        yield
    except (PrefixcapError, OSError):
        raise
    except BaseException as error:
        if interrupted() or out_of_memory(error) or not is_foreign(config):
            raise
        raise PrefixcapError(
            f"the {config.kind} {specs.to_spec(config)!r} of {_owner(config)} {problem}: "
            f"{explained(error)}{place_of(error)}"
        ) from error


def is_foreign(config: Component) -> bool:
    """Return whether a component is not built in."""
    plugin = _plugin_of(type(config))
    return plugin is None or not plugin.is_built_in


def responsible(error: BaseException) -> Plugin | None:
    """Return the plugin, not a built-in one, whose code an error passed last; None without one."""
    plugins = default_registry().plugins if default_registry.cache_info().currsize else ()
    folders = {
        Path(file).parent if Path(file).name == "__init__.py" else Path(file): plugin
        for plugin in plugins
        if not plugin.is_built_in
        for component in plugin.components
        if (file := _file(component))
    }
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        for place in (Path(frame.filename), *Path(frame.filename).parents):
            if place in folders:
                return folders[place]
    return None


def place_of(error: BaseException) -> str:
    """Return the file and line where an error was raised in brackets; "" if that is this module."""
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1] if frames else None
    return f" ({last.filename}:{last.lineno})" if last and last.filename != __file__ else ""


def _plugin_of(component: type[Component]) -> Plugin | None:
    plugins = default_registry().plugins
    return next((plugin for plugin in plugins if component in plugin.components), None)


def _owner(config: Component) -> str:
    plugin = _plugin_of(type(config))
    if plugin is not None:
        return f"the plugin {plugin}"
    return f"the class {type(config).__module__}.{type(config).__qualname__}"


def _file(component: type[Component]) -> str | None:
    import sys

    return getattr(sys.modules.get(component.__module__.partition(".")[0]), "__file__", None)
