"""Progress on a terminal (bars) and elsewhere (plain lines)."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from prefixcap.study.progress import Reporter, Task

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_EVERY = 5.0


def reporter() -> Reporter:
    """Returns bars where standard error is a terminal, else plain lines."""
    return Bars() if sys.stderr.isatty() else Lines()


class Lines(Reporter):
    """A line when work begins, every few seconds, and when it ends.

    Args:
        every: the seconds between two lines.
    """

    def __init__(self, every: float = _EVERY) -> None:
        self._every = every

    @contextlib.contextmanager
    def task(self, what: str, total: int, unit: str) -> Iterator[Task]:
        """Opens a piece of work of `total` units."""
        task = _LinesTask(what, total, unit, self._every)
        yield task
        task.end()

    def say(self, text: str) -> None:
        """Prints one line to standard error."""
        print(text, file=sys.stderr, flush=True)


class _LinesTask(Task):
    def __init__(self, what: str, total: int, unit: str, every: float) -> None:
        self._what, self._total, self._unit, self._every = what, total, unit, every
        self._done = 0
        self._note = ""
        self._begin = self._last = time.monotonic()

    def reach(self, done: int, total: int | None = None, note: str = "") -> None:
        """Prints a line where the last one is a while ago."""
        self._done, self._total = done, self._total if total is None else total
        self._note = note
        now = time.monotonic()
        if now - self._last >= self._every and done < self._total:
            self._last = now
            left = (now - self._begin) / max(done, 1) * (self._total - done)
            self._line(f", about {left:.0f} s left")

    def end(self) -> None:
        """Prints the last line."""
        self._line(f" in {time.monotonic() - self._begin:.1f} s")

    def _line(self, end: str) -> None:
        seconds = max(time.monotonic() - self._begin, 1e-9)
        rate = f"{self._done / seconds:.1f} {self._unit}/s"
        note = f", {self._note}" if self._note else ""
        text = f"{self._what}: {self._done}/{self._total} {self._unit}, {rate}{note}{end}"
        print(text, file=sys.stderr, flush=True)


class Bars(Reporter):
    """A bar a piece of work: what, how much, the rate, the time left."""

    @contextlib.contextmanager
    def task(self, what: str, total: int, unit: str) -> Iterator[Task]:
        """Opens a piece of work of `total` units."""
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=Console(stderr=True)) as progress:
            identity = progress.add_task(what, total=total, rate="", note="")
            yield _BarTask(progress, identity, unit)

    def say(self, text: str) -> None:
        """Prints one line to standard error."""
        print(text, file=sys.stderr, flush=True)


class _BarTask(Task):
    def __init__(self, progress: Progress, identity: TaskID, unit: str) -> None:
        self._progress, self._identity, self._unit = progress, identity, unit
        self._begin = time.monotonic()

    def reach(self, done: int, total: int | None = None, note: str = "") -> None:
        """Moves the bar."""
        rate = f"{done / max(time.monotonic() - self._begin, 1e-9):.1f} {self._unit}/s"
        self._progress.update(self._identity, completed=done, total=total, rate=rate, note=note)
