"""Ctrl-C and requests to end: one `KeyboardInterrupt` that no library can swallow for good."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
PATIENCE = 3.0
"""The seconds after which the interrupt is repeated, as some code catches every exception."""
REPEATS = 3
"""The number of repetitions before the process ends at once."""
SAME = 0.5
"""The seconds within which a second signal is the same wish, sent to a process and its group."""


class Interrupts:
    """The signals that a process has received since `handled` was entered.

    Attributes:
        received: The number of the first signal; None if there was none.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._since = 0.0
        self._owner = os.getpid()
        self._repeats = 0
        self._finished = False
        self._timer: threading.Timer | None = None

    @property
    def status(self) -> int:
        """The exit status of a process that a signal ended."""
        return 128 + (self.received or signal.SIGINT)

    @property
    def sentence(self) -> str:
        """What to tell the user."""
        number = self.received
        by = f" by {signal.Signals(number).name}" if number not in (None, signal.SIGINT) else ""
        return f"stopped{by}"

    def handle(self, number: int, _: FrameType | None) -> None:
        """Handle a signal; a second one ends the process at once.

        Raises:
            KeyboardInterrupt: At the first signal, and while something swallows it.
        """
        if os.getpid() != self._owner:  # a fork, whose end is its owner's business
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
            return
        if self.received is None:
            self.received, self._since = number, time.monotonic()
            if self._finished:
                self._end()
        elif self._repeats == 0:  # the user's, and not a repetition
            if time.monotonic() - self._since > SAME:
                self._end()
            return
        self._repeat_later()
        raise KeyboardInterrupt

    def finish(self) -> None:
        """Repeat nothing any more; a signal while the interpreter shuts down ends it at once."""
        self._finished = True
        if self._timer is not None:
            self._timer.cancel()

    def _repeat_later(self) -> None:
        self._timer = threading.Timer(PATIENCE, self._repeat)
        self._timer.daemon = True
        self._timer.start()

    def _repeat(self) -> None:
        self._repeats += 1
        if self._finished:
            return
        if self._repeats > REPEATS:
            self._end()
        assert self.received is not None
        # a blocked system call of the main thread ends as well
        signal.pthread_kill(threading.main_thread().ident or 0, self.received)

    def _end(self) -> None:
        end_children()
        os.write(2, f"prefixcap: {self.sentence}\n".encode())
        os._exit(self.status)


def end_children() -> None:
    """Ask this process's child processes to end, where Linux lists them.

    One that was being started when the signal came is known to nobody else.
    """
    for listed in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):
            for number in listed.read_text().split():
                os.kill(int(number), signal.SIGTERM)


_current: Interrupts | None = None


def interrupted() -> bool:
    """Return whether the user asked this process to stop."""
    return _current is not None and _current.received is not None


@contextmanager
def handled(*, until_exit: bool) -> Iterator[Interrupts]:
    """Handle Ctrl-C, SIGTERM and SIGHUP; with `until_exit`, also after the context has ended.

    A signal that the process was started to ignore, as `nohup` does, stays ignored.
    """
    global _current
    interrupts = Interrupts()
    usual: dict[int, Callable[..., Any] | int | None] = {}
    outer, _current = _current, interrupts
    if threading.current_thread() is threading.main_thread():
        for number in (getattr(signal, name) for name in NAMES if hasattr(signal, name)):
            if signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL):
                usual[number] = signal.signal(number, interrupts.handle)
    try:
        yield interrupts
    finally:
        interrupts.finish()
        if until_exit and interrupts.received is not None:
            end_children()
        _current = outer
        for number, handler in usual.items() if not until_exit else ():
            signal.signal(number, handler)
