"""How long work reports what it does: an interface that the shell draws."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator


class Task(ABC):
    """One piece of long work."""

    @abstractmethod
    def reach(self, done: int, total: int | None = None, note: str = "") -> None:
        """Says how much is done.

        Args:
            done: the units done so far.
            total: all units, where that became known only now.
            note: what else is known, such as the loss.
        """


class Reporter(ABC):
    """Where work says what it is doing."""

    @abstractmethod
    def task(self, what: str, total: int, unit: str) -> contextlib.AbstractContextManager[Task]:
        """Opens a piece of work of `total` units."""

    @abstractmethod
    def say(self, text: str) -> None:
        """Says one line."""


class Silent(Reporter):
    """Says nothing."""

    @contextlib.contextmanager
    def task(self, what: str, total: int, unit: str) -> Iterator[Task]:
        """Opens a piece of work."""
        yield _SilentTask()

    def say(self, text: str) -> None:
        """Says nothing."""


class _SilentTask(Task):
    def reach(self, done: int, total: int | None = None, note: str = "") -> None:
        """Says nothing."""
