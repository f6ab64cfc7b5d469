"""Import modules that a library imports, but that this package does not use, only when used."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any


class DeferredModule(ModuleType):
    """Stands for a module that is imported when one of its attributes is taken.

    Args:
        name: The module.
        functions: Names of functions that may be taken, but import it only when they are called.
    """

    def __init__(self, name: str, functions: Collection[str]) -> None:
        super().__init__(name)
        self._functions = functions
        self.__path__: Any = DeferredPath(self)

    def __getattr__(self, name: str) -> Any:
        if name in self._functions:
            return _calling(self.__name__, name)
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.real(), name)

    def real(self) -> ModuleType:
        """Import the module."""
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return import_module(self.__name__)


class DeferredPath:
    """The `__path__` of a module that is imported when one of its own modules is."""

    def __init__(self, module: DeferredModule) -> None:
        self._module = module

    def __iter__(self) -> Iterator[str]:
        return iter(getattr(self._module.real(), "__path__", ()))


def _calling(module: str, name: str) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        return getattr(import_module(module), name)(*args, **kwargs)

    return call


@contextmanager
def deferred(modules: Mapping[str, Collection[str]]) -> Iterator[None]:
    """Let imports of modules cost nothing until something of them is used.

    Code inside that imports one of `modules`, by name and with the functions that may be deferred,
    gets a `DeferredModule`. Afterwards, an import gives the module itself.
    """
    absent = modules.keys() - sys.modules.keys()
    standing = {name: DeferredModule(name, modules[name]) for name in absent}
    sys.modules.update(standing)
    try:
        yield
    finally:
        for name, stand_in in standing.items():
            if sys.modules.get(name) is stand_in:
                del sys.modules[name]
