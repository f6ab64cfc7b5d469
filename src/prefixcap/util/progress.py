"""How long work reports what it does: an interface that the shell draws."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator

import attrs


@attrs.frozen(kw_only=True)
class Whole:
    """How far a study is, the present piece of work apart.

    Attributes:
        done: the cells that are done.
        cells: all of them.
        after: the seconds that will be left after the present piece of work; None where something
            of a kind is left of which nothing has been measured.
    """

    done: int
    cells: int
    after: float | None

    def text(self, left: float | None) -> str:
        """Says it in a few words; `left` are the seconds that the present work still takes."""
        cells = f"study: {self.done} of {self.cells} cells" if self.cells > 1 else "study"
        if left is None or self.after is None:
            return cells if self.cells > 1 else ""
        return f"{cells}, about {duration(left + self.after)} left"


class ProgressTask(ABC):
    """One piece of long work."""

    @abstractmethod
    def resume(self, done: int) -> None:
        """Says how much was done before, which counts neither for the rate nor the time left."""

    @abstractmethod
    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        """Says how much is done.

        Args:
            done: the units done so far.
            total: all units, where that became known only now.
            note: what else is known, such as the loss.
        """


class Reporter(ABC):
    """Where work says what it is doing.

    Attributes:
        whole: how far the study is, where there is one.
    """

    whole: Whole | None = None

    @abstractmethod
    def task(
        self, what: str, total: int, unit: str
    ) -> contextlib.AbstractContextManager[ProgressTask]:
        """Opens a piece of work of `total` units."""

    @abstractmethod
    def message(self, text: str) -> None:
        """Says one line."""


class Silent(Reporter):
    """Says nothing."""

    @contextlib.contextmanager
    def task(self, what: str, total: int, unit: str) -> Iterator[ProgressTask]:
        """Opens a piece of work."""
        yield _SilentTask()

    def message(self, text: str) -> None:
        """Says nothing."""


class _SilentTask(ProgressTask):
    def resume(self, done: int) -> None:
        """Says nothing."""

    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        """Says nothing."""


def duration(seconds: float) -> str:
    """Writes a time as people say it: "40 s", "12 min", "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
