"""Progress on a terminal (bars) and elsewhere (plain lines)."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from typing_extensions import override

from prefixcap.util.progress import ProgressTask, Reporter, duration

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_EVERY = 5.0


def reporter() -> Reporter:
    """Return bars if standard error is a terminal, else plain lines."""
    return Bars() if sys.stderr.isatty() else Lines()


class Lines(Reporter):
    """Prints a line every few seconds during a piece of work, and one at its end.

    Args:
        every: The seconds between two lines.
    """

    def __init__(self, every: float = _EVERY) -> None:
        self._every = every

    @override
    @contextlib.contextmanager
    def task(self, title: str, total: int, unit: str) -> Iterator[ProgressTask]:
        task = _LinesTask(title, Pace(total, unit), self._every)
        yield task
        task.end()

    @override
    def message(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


class Pace:
    """Measures how fast a piece of work proceeds.

    Args:
        total: The number of all units.
        unit: What the units are called.
    """

    def __init__(self, total: int, unit: str) -> None:
        self.total, self.unit = total, unit
        self.resume(0)

    def resume(self, done: int) -> None:
        """Start the clock after the work done before."""
        self.done = self._before = done
        self._begin = time.monotonic()

    @property
    def rate(self) -> str:
        """The units per second; empty before any is done."""
        done = self.done - self._before
        return f"{done / max(self.seconds, 1e-9):.1f} {self.unit}/s" if done else ""

    @property
    def seconds(self) -> float:
        """The seconds so far."""
        return time.monotonic() - self._begin

    @property
    def left(self) -> float | None:
        """The estimated seconds left; None before anything is done."""
        done = self.done - self._before
        return self.seconds / done * (self.total - self.done) if done > 0 else None


class _LinesTask(ProgressTask):
    def __init__(self, title: str, pace: Pace, every: float) -> None:
        self._title, self._pace, self._every = title, pace, every
        self._note, self._updated = "", False
        self._last = time.monotonic()

    @override
    def resume(self, done: int) -> None:
        self._pace.resume(done)

    @override
    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        pace = self._pace
        pace.done, pace.total = done, pace.total if total is None else total
        self._note, self._updated = note, True
        now = time.monotonic()
        if now - self._last >= self._every and done < pace.total:
            self._last = now
            left = pace.left
            self._print("" if left is None else f", about {duration(left)} left")

    def end(self) -> None:
        """Print the last line, unless another process did the work."""
        if self._updated or not self._pace.total:
            self._print(f" in {self._pace.seconds:.1f} s")

    def _print(self, end: str) -> None:
        pace = self._pace
        parts = (f"{pace.done}/{pace.total} {pace.unit}", pace.rate, self._note)
        text = ", ".join(part for part in parts if part)
        print(f"{self._title}: {text}{end}", file=sys.stderr, flush=True)


class Bars(Reporter):
    """Shows a bar per piece of work, with the rate and the time left."""

    @override
    @contextlib.contextmanager
    def task(self, title: str, total: int, unit: str) -> Iterator[ProgressTask]:
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
            task_id = progress.add_task(title, total=total, rate="", note="")
            yield _BarTask(progress, task_id, Pace(total, unit))

    @override
    def message(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


class _BarTask(ProgressTask):
    def __init__(self, progress: Progress, task_id: TaskID, pace: Pace) -> None:
        self._progress, self._task_id, self._pace = progress, task_id, pace

    @override
    def resume(self, done: int) -> None:
        self._pace.resume(done)
        self._progress.update(self._task_id, completed=done)

    @override
    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        pace = self._pace
        pace.done, pace.total = done, pace.total if total is None else total
        self._progress.update(self._task_id, completed=done, total=total, rate=pace.rate, note=note)
