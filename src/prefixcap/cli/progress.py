"""Progress on a terminal (bars) and elsewhere (plain lines)."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from prefixcap.util.progress import ProgressTask, Reporter, Whole, duration

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
    def task(self, what: str, total: int, unit: str) -> Iterator[ProgressTask]:
        """Opens a piece of work of `total` units."""
        task = _LinesTask(what, Pace(total, unit), self.whole, self._every)
        yield task
        task.end()

    def message(self, text: str) -> None:
        """Prints one line to standard error."""
        print(text, file=sys.stderr, flush=True)


class Pace:
    """How fast a piece of work goes.

    Args:
        total: all units.
        unit: what they are called.
    """

    def __init__(self, total: int, unit: str) -> None:
        self.total, self.unit = total, unit
        self.done = self.before = 0
        self.begin = time.monotonic()

    def resume(self, done: int) -> None:
        """Begins anew after what was done before."""
        self.done = self.before = done
        self.begin = time.monotonic()

    @property
    def rate(self) -> str:
        """The units a second; nothing before anything is done."""
        made = self.done - self.before
        return f"{made / max(self.seconds, 1e-9):.1f} {self.unit}/s" if made else ""

    @property
    def seconds(self) -> float:
        """The seconds so far."""
        return time.monotonic() - self.begin

    @property
    def left(self) -> float | None:
        """The seconds left; None before anything is done."""
        made = self.done - self.before
        return self.seconds / made * (self.total - self.done) if made > 0 else None


class _LinesTask(ProgressTask):
    def __init__(self, what: str, pace: Pace, whole: Whole | None, every: float) -> None:
        self._what, self._pace, self._whole, self._every = what, pace, whole, every
        self._note, self._reached = "", False
        self._last = time.monotonic()

    def resume(self, done: int) -> None:
        """Begins after what was done before."""
        self._pace.resume(done)

    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        """Prints a line where the last one is a while ago."""
        pace = self._pace
        pace.done, pace.total = done, pace.total if total is None else total
        self._note, self._reached = note, True
        now = time.monotonic()
        if now - self._last >= self._every and done < pace.total:
            self._last = now
            left = pace.left
            parts = [] if left is None else [f"about {duration(left)} left"]
            if self._whole is not None and (whole := self._whole.text(left)):
                parts.append(whole)
            self._line("".join(f", {part}" for part in parts))

    def end(self) -> None:
        """Prints the last line, unless another process did the work."""
        if self._reached or not self._pace.total:
            self._line(f" in {self._pace.seconds:.1f} s")

    def _line(self, end: str) -> None:
        pace = self._pace
        parts = (f"{pace.done}/{pace.total} {pace.unit}", pace.rate, self._note)
        known = ", ".join(part for part in parts if part)
        print(f"{self._what}: {known}{end}", file=sys.stderr, flush=True)


class Bars(Reporter):
    """A bar a piece of work: what, how much, the rate, the time left."""

    @contextlib.contextmanager
    def task(self, what: str, total: int, unit: str) -> Iterator[ProgressTask]:
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
            TextColumn("{task.fields[whole]}"),
        )
        with Progress(*columns, console=Console(stderr=True)) as progress:
            identity = progress.add_task(what, total=total, rate="", note="", whole="")
            yield _BarTask(progress, identity, Pace(total, unit), self.whole)

    def message(self, text: str) -> None:
        """Prints one line to standard error."""
        print(text, file=sys.stderr, flush=True)


class _BarTask(ProgressTask):
    def __init__(
        self, progress: Progress, identity: TaskID, pace: Pace, whole: Whole | None
    ) -> None:
        self._progress, self._identity, self._pace, self._whole = progress, identity, pace, whole

    def resume(self, done: int) -> None:
        """Begins after what was done before."""
        self._pace.resume(done)
        self._progress.update(self._identity, completed=done)

    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        """Moves the bar."""
        pace = self._pace
        pace.done, pace.total = done, pace.total if total is None else total
        self._progress.update(
            self._identity,
            completed=done,
            total=total,
            rate=pace.rate,
            note=note,
            whole=self._whole.text(pace.left) if self._whole is not None else "",
        )
