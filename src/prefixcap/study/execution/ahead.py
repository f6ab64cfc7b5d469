"""The time that a running study still needs, known at a small part of its cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from prefixcap.study.execution.estimate import Timings, Work
from prefixcap.study.execution.workers import others

# looking through a large grid takes a second: so many times as long passes before the next time
PAUSE = 30


class Ahead:
    """What is left of a study, in seconds.

    Args:
        folder: the study's folder.
        look: finds everything that is left, the present piece of work too.
    """

    def __init__(self, folder: Path, look: Callable[[], Sequence[Work]]) -> None:
        self._folder = folder
        self._look = look
        self._next = 0.0

    def beside(self, present: Sequence[Work]) -> float | None:
        """Estimates the seconds that are left after the present pieces of work.

        Returns:
            None where something of a kind is left of which nothing has been measured.
        """
        now = time.perf_counter()
        if now >= self._next:
            self._timings = Timings(self._folder)
            self._left = self._sum(self._look())
            self._workers = 1 + others(self._folder)
            self._since = time.perf_counter()
            took = self._since - now
            # what is not known may be known as soon as something was measured
            self._next = now if self._left is None else self._since + PAUSE * took
        own = self._sum(present)
        if self._left is None or own is None:
            return None
        each = self._left / self._workers  # they share what is left
        return max(0.0, each - (time.perf_counter() - self._since) - own)

    def _sum(self, works: Sequence[Work]) -> float | None:
        total = 0.0
        for seconds in self._timings.seconds(works).values():
            if seconds is None:
                return None
            total += seconds
        return total
