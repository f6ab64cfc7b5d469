"""Progress on a terminal (bars) and elsewhere (plain lines)."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from typing_extensions import override

from prefixcap.cli.output import unfiltered, visible_output
from prefixcap.util.progress import ProgressTask, Reporter, duration
from prefixcap.util.text import visible, visible_lines

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn, TaskID

WIDE, NARROW = 110, 70
"""Columns of a terminal from which a bar has its elapsed time and note, and its rate."""


def reporter(*, details: bool = True) -> Reporter:
    """Return bars if standard error is a terminal, else plain lines.

    Without `details`, what is only for people who watch is not shown.
    """
    made = Bars() if sys.stderr.isatty() else Lines()
    made.details = details
    return made


class _Stderr(Reporter):
    details = True

    @override
    def message(self, text: str) -> None:
        print(visible(text), file=sys.stderr, flush=True)

    @override
    def detail(self, text: str) -> None:
        if self.details:
            print(visible_lines(text), file=sys.stderr, flush=True)


class Lines(_Stderr):
    """Prints a line every few seconds during a piece of work, and one at its end."""

    def __init__(self, every: float = 5.0) -> None:
        self._every = every

    @override
    @contextlib.contextmanager
    def task(self, title: str, total: int, unit: str) -> Iterator[ProgressTask]:
        task = _LinesTask(total, unit, title, self._every)
        yield task
        task.end()


class Bars(_Stderr):
    """Shows a bar per piece of work, with the rate and the time left."""

    @override
    @contextlib.contextmanager
    def task(self, title: str, total: int, unit: str) -> Iterator[ProgressTask]:
        from rich.console import Console
        from rich.progress import Progress

        console = Console(file=unfiltered(sys.stderr))
        columns = _columns(console.width)
        # what is printed meanwhile goes through the console
        with Progress(*columns, console=console) as progress, visible_output():
            task_id = progress.add_task(visible(title), total=total, rate="", note="")
            yield _BarTask(total, unit, progress, task_id)


def _columns(width: int) -> list[ProgressColumn]:
    """Return the columns that fit into a terminal; the bar is in all of them.

    Otherwise a long title or note would take the room of the others.
    """
    from rich import progress as rich
    from rich.table import Column

    wide, rated = width >= WIDE, width >= NARROW
    room = width - (74 if wide else 56 if rated else 38)  # what the other columns leave for text
    longest = max(4, room // 2 if wide else room)
    title, note = (Column(no_wrap=True, overflow="ellipsis", max_width=longest) for _ in range(2))
    columns: list[ProgressColumn] = [
        rich.TextColumn("{task.description}", markup=False, table_column=title),
        rich.BarColumn(bar_width=20 if wide else 10),
        rich.MofNCompleteColumn(),
    ]
    if rated:
        columns.append(rich.TextColumn("{task.fields[rate]}"))
    if wide:
        columns.append(rich.TimeElapsedColumn())
    columns += [rich.TextColumn("left"), rich.TimeRemainingColumn()]
    if wide:
        columns.append(rich.TextColumn("{task.fields[note]}", markup=False, table_column=note))
    return columns


class _PacedTask(ProgressTask):
    """Measures how fast a piece of work proceeds."""

    def __init__(self, total: int, unit: str) -> None:
        self._total, self._unit = total, unit
        self._done = self._before = 0
        self._begin = time.monotonic()

    @override
    def resume(self, done: int) -> None:
        self._done = self._before = done
        self._begin = time.monotonic()

    @override
    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        self._done = done
        if total is not None:
            self._total = total

    def _rate(self) -> str:
        """Return the units per second; empty before any is done."""
        done = self._done - self._before
        return f"{done / max(self._seconds(), 1e-9):.1f} {self._unit}/s" if done else ""

    def _seconds(self) -> float:
        return time.monotonic() - self._begin


class _LinesTask(_PacedTask):
    def __init__(self, total: int, unit: str, title: str, every: float) -> None:
        super().__init__(total, unit)
        self._title, self._every = title, every
        self._note, self._updated = "", False
        self._last = self._begin

    @override
    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        super().update(done, total)
        self._note, self._updated = note, True
        now = time.monotonic()
        if now - self._last >= self._every and done < self._total:
            self._last = now
            new = done - self._before
            left = self._seconds() / new * (self._total - done) if new > 0 else None
            self._print("" if left is None else f", about {duration(left)} left")

    def end(self) -> None:
        """Print the last line, unless another process did the work."""
        if self._updated or not self._total:
            self._print(f" in {self._seconds():.1f} s")

    def _print(self, end: str) -> None:
        parts = (f"{self._done}/{self._total} {self._unit}", self._rate(), self._note)
        text = ", ".join(part for part in parts if part)
        print(visible(f"{self._title}: {text}{end}"), file=sys.stderr, flush=True)


class _BarTask(_PacedTask):
    def __init__(self, total: int, unit: str, progress: Progress, task_id: TaskID) -> None:
        super().__init__(total, unit)
        self._progress, self._task_id = progress, task_id

    @override
    def resume(self, done: int) -> None:
        super().resume(done)
        self._progress.update(self._task_id, completed=done)

    @override
    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        super().update(done, total)
        rate = self._rate()
        self._progress.update(
            self._task_id, completed=done, total=total, rate=rate, note=visible(note)
        )
