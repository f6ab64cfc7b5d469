"""The global state of the process that loading a plugin must not change."""

from __future__ import annotations

import gc
import locale
import operator
import os
import random
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import attrs


@attrs.frozen
class Aspect:
    """A part of the global state: how it is read, compared and restored."""

    name: str
    read: Callable[[], Any]
    restore: Callable[[Any], object]
    is_same: Callable[[Any, Any], bool] = operator.eq


@contextmanager
def restored(report: Callable[[str], None]) -> Iterator[None]:
    """Restore the global state afterwards; `report` gets the name of each part that had changed.

    Libraries are not imported for it. The parts of one that is imported meanwhile are compared
    with what they are after an ordinary import.
    """
    known = [*ASPECTS, *_of_libraries()]
    before = [(aspect, _read(aspect)) for aspect in known]
    yield
    names = {aspect.name for aspect in known}
    new = [(a, FRESH[a.name]) for a in _of_libraries() if a.name not in names and a.name in FRESH]
    for aspect, value in (*before, *new):
        if not aspect.is_same(value, _read(aspect)):
            report(aspect.name)
            with suppress(Exception):  # such as a folder that no longer exists
                aspect.restore(value)


def _read(aspect: Aspect) -> Any:
    try:
        return aspect.read()
    except Exception:  # such as the working directory, if it was deleted
        return None


def _signal_handlers() -> dict[int, Any]:
    return {number: signal.getsignal(number) for number in signal.valid_signals()}


def _restore_signal_handlers(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        if signal.getsignal(number) != handler and handler is not None:
            signal.signal(number, handler)


def _is_blanket(filter_: Any) -> bool:
    # an import of a library adds filters of single messages, or of its own categories
    _, message, category, module, _ = filter_
    return message is None and module is None and category.__module__ == "builtins"


def _are_same_filters(before: list[Any], after: list[Any]) -> bool:
    lost = [each for each in before if each not in after]
    return not lost and not any(_is_blanket(each) for each in after if each not in before)


def _restore_filters(before: list[Any]) -> None:
    new = [each for each in warnings.filters if each not in before and not _is_blanket(each)]
    warnings.filters[:] = [*new, *before]  # type: ignore[index]
    with warnings.catch_warnings():
        pass  # entering and leaving it makes the change known


def _restore_environment(environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)


def _set_collecting(enabled: bool) -> None:
    (gc.enable if enabled else gc.disable)()


def _numpy_state(numpy: Any) -> tuple[Any, ...]:
    name, keys, *rest = numpy.random.get_state()
    return name, keys.tobytes(), *rest


def _set_numpy_state(numpy: Any, state: tuple[Any, ...]) -> None:
    name, keys, *rest = state
    numpy.random.set_state((name, numpy.frombuffer(keys, numpy.uint32), *rest))


def _set_torch_state(torch: Any, state: bytes) -> None:
    torch.set_rng_state(torch.frombuffer(bytearray(state), dtype=torch.uint8))


ASPECTS = (
    Aspect("the working directory", os.getcwd, os.chdir),
    Aspect("environment variables", lambda: dict(os.environ), _restore_environment),
    Aspect("the recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
    Aspect("sys.stderr", lambda: sys.stderr, lambda file: setattr(sys, "stderr", file)),
    Aspect("sys.excepthook", lambda: sys.excepthook, lambda f: setattr(sys, "excepthook", f)),
    Aspect("signal handlers", _signal_handlers, _restore_signal_handlers),
    Aspect(
        "the filters of warnings",
        lambda: list(warnings.filters),
        _restore_filters,
        _are_same_filters,
    ),
    Aspect(
        "the locale",
        lambda: locale.setlocale(locale.LC_ALL),
        lambda name: locale.setlocale(locale.LC_ALL, name),
    ),
    Aspect("the garbage collector", gc.isenabled, _set_collecting),
    Aspect("Python's random state", random.getstate, random.setstate),
)

FRESH = {"torch's default dtype": "torch.float32", "torch's gradient mode": True}
"""The state of a library that has just been imported, by the name of the aspect."""


def _of_libraries() -> list[Aspect]:
    """Return the aspects of the libraries that are imported already."""
    aspects = []
    if numpy := _complete("numpy", "random"):
        aspects.append(
            Aspect(
                "NumPy's random state",
                lambda: _numpy_state(numpy),
                lambda state: _set_numpy_state(numpy, state),
            )
        )
    if torch := _complete("torch", "is_grad_enabled"):
        aspects += [
            Aspect(
                "torch's default dtype",
                lambda: str(torch.get_default_dtype()),
                lambda name: torch.set_default_dtype(getattr(torch, name.partition(".")[2])),
            ),
            Aspect("torch's gradient mode", torch.is_grad_enabled, torch.set_grad_enabled),
            Aspect("torch's number of threads", torch.get_num_threads, torch.set_num_threads),
            Aspect(
                "torch's random state",
                lambda: torch.get_rng_state().numpy().tobytes(),
                lambda state: _set_torch_state(torch, state),
            ),
        ]
    return aspects


def _complete(name: str, attribute: str) -> Any:
    """Return a library if it is imported, and not just being imported."""
    module = sys.modules.get(name)
    return module if hasattr(module, attribute) else None
