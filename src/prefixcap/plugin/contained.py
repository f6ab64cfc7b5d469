"""Run a plugin's code so that nothing it does at import or in its hooks reaches the others."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Generic, TypeVar

import attrs

from prefixcap.errors import describe
from prefixcap.plugin.global_state import restored
from prefixcap.util.process.interrupts import interrupted

T = TypeVar("T")
TRACEBACK = "PREFIXCAP_TRACEBACK"
"""The environment variable that shows the tracebacks of plugins' errors."""


@attrs.define
class Outcome(Generic[T]):
    """What a plugin's code gave: a result or an error, and what it did besides."""

    result: T | None = None
    error: str = ""
    problems: list[str] = attrs.field(factory=list)


def contained(call: Callable[[], T]) -> Outcome[T]:
    """Call a plugin's code, and turn whatever happens into an `Outcome`.

    What it prints goes to standard error, and changes of global state are undone; both are named in
    the problems. A hang, the end of the process (`os._exit`) and a crash cannot be contained.

    Raises:
        KeyboardInterrupt: If the user pressed Ctrl-C meanwhile; one that the code itself raises is
            an error of the plugin.
    """
    outcome: Outcome[T] = Outcome()
    changed: list[str] = []
    threads = set(threading.enumerate())
    with (
        _noting_interrupt() as interrupts,
        _stdout_to_stderr() as printed,
        restored(changed.append),
    ):
        try:
            outcome.result = call()
        except BaseException as error:  # a plugin can fail in any way
            outcome.error = explained(error)
            if os.environ.get(TRACEBACK):
                traceback.print_exception(error)
    if interrupts or interrupted():
        raise KeyboardInterrupt
    if changed:
        outcome.problems.append(f"it changed {', '.join(changed)}; this was undone")
    if printed.used:
        outcome.problems.append("it printed to standard output, which belongs to results")
    if any(not thread.daemon for thread in threading.enumerate() if thread not in threads):
        outcome.problems.append("it started a thread that may keep the process from ending")
    return outcome


def explained(error: BaseException) -> str:
    """Return an error's type and text, and that the code tried to end the process if it did."""
    if isinstance(error, SystemExit):
        return f"{describe(error)} (it called sys.exit)"
    return describe(error)


@contextlib.contextmanager
def _noting_interrupt() -> Iterator[list[int]]:
    """Note each Ctrl-C, so that it differs from a KeyboardInterrupt that a plugin raises."""
    interrupts: list[int] = []
    usual = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(usual):
        yield interrupts  # other threads get no signals, and an ignored one stays so
        return

    def note(number: int, frame: FrameType | None) -> None:
        interrupts.append(number)
        usual(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, usual)


class _ToStderr(io.TextIOBase):
    """Writes to what standard error is at the time; closing it closes nothing."""

    def __init__(self) -> None:
        self.used = False

    def write(self, text: str) -> int:
        self.used = self.used or bool(text)
        if sys.stderr is not None:
            sys.stderr.write(text)
        return len(text)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 2


@contextlib.contextmanager
def _stdout_to_stderr() -> Iterator[_ToStderr]:
    """Redirect standard output to standard error, also that of C libraries and child processes."""
    usual, target = sys.stdout, _ToStderr()
    with contextlib.suppress(Exception):
        usual.flush()
    saved = None
    with contextlib.suppress(OSError):  # one of them is closed
        os.fstat(2)
        saved = os.dup(1)
        os.dup2(2, 1)
    sys.stdout = target
    try:
        yield target
    finally:
        sys.stdout = usual
        if saved is not None:
            os.dup2(saved, 1)
            os.close(saved)
