"""The progress of long work: an interface that the shell implements."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator

from typing_extensions import override


class ProgressTask:
    """One piece of long work; shows nothing by default."""

    def resume(self, done: int) -> None:
        """Set how much was done before, which counts neither for the rate nor for the time left."""

    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        """Set how much is done so far, and of how much if that became known only now.

        `note` is other information, such as the loss.
        """


class Reporter(ABC):
    """Receives the progress of work."""

    @abstractmethod
    def task(
        self, title: str, total: int, unit: str
    ) -> contextlib.AbstractContextManager[ProgressTask]:
        """Begin a piece of work of `total` units."""

    @abstractmethod
    def message(self, text: str) -> None:
        """Show a line of text."""

    def detail(self, text: str) -> None:  # noqa: B027  (optional)
        """Show lines of text to those who watch the work; nothing by default."""


class Silent(Reporter):
    """Shows nothing."""

    @override
    @contextlib.contextmanager
    def task(self, title: str, total: int, unit: str) -> Iterator[ProgressTask]:
        yield ProgressTask()

    @override
    def message(self, text: str) -> None:
        pass


def duration(seconds: float) -> str:
    """Format a duration for people: "40 s", "12 min", "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
