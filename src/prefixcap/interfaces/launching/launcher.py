"""Launchers: workers in other processes, on this machine or on others, that do pieces of work."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeAlias

import attrs

from prefixcap.interfaces.component import Component

ATTEMPTS = 3
"""How often a piece of work is begun whose worker ends before it is done."""


@attrs.frozen(kw_only=True)
class Work:
    """A piece of work, which can be pickled.

    Attributes:
        name: What it is, unique among the works of a launch.
        group: What a worker keeps in memory for it, such as a model; "" for nothing.
        needs: The files and folders that it reads, relative to the folder of the launch.
        makes: Those that it writes, replaces or deletes, which no other work does meanwhile.
        appends: The files that it adds lines to, as other works may do meanwhile.
    """

    name: str
    group: str = ""
    needs: tuple[str, ...] = ()
    makes: tuple[str, ...] = ()
    appends: tuple[str, ...] = ()


Worker: TypeAlias = Callable[[Work], Any]
"""Does pieces of work, one after another, in a process of its own. Results can be pickled."""
Done: TypeAlias = Callable[[Work, Any], Sequence[Work]]
"""Takes a piece of work and its result, in the process that launches, and returns further works."""


@attrs.frozen(kw_only=True)
class Start(ABC):
    """Creates a worker; it can be pickled.

    Attributes:
        folder: The folder of the launch, an absolute path. A worker that cannot reach it is created
            with the path of a copy, `attrs.evolve(start, folder=...)`.
    """

    folder: str

    @abstractmethod
    def __call__(self) -> Worker:
        """Create the worker, in its process."""


class Launcher(ABC):
    """Does pieces of work on several workers."""

    @property
    @abstractmethod
    def workers(self) -> int:
        """The number of workers that it starts; 0 if it does nothing."""

    @property
    def copies(self) -> bool:
        """Whether workers have copies of the launch's folder, and see what they need alone."""
        return False

    @abstractmethod
    def run(self, start: Start, works: Sequence[Work], done: Done) -> list[Work]:
        """Do pieces of work, each on one worker, in any order.

        A worker is started once in its process, and does one piece at a time. If it ends before its
        work is done, another one does it. What `done` raises ends the launch, and its workers.

        Args:
            start: Creates a worker.
            works: The pieces of work that are known.
            done: Called once for each piece of work that is done; it returns further ones.

        Returns:
            The pieces of work that were left undone, which the caller does itself.

        Raises:
            PrefixcapError: If workers cannot be started.
        """


@attrs.frozen(kw_only=True)
class LauncherConfig(Component):
    """The base of launcher configs."""

    kind: ClassVar[str] = "launcher"

    @abstractmethod
    def build(self) -> Launcher:
        """Build the launcher; nothing is started yet."""


class WorkQueue:
    """The pieces of work of a launch: which is next, and which are left.

    Args:
        works: The pieces of work that are known.
        done: Called with each that is done, and its result; returns further ones.
    """

    def __init__(self, works: Sequence[Work], done: Done) -> None:
        self._pending = list(works)
        self._done = done
        self._begun: dict[str, int] = {}
        self._left: list[Work] = []
        self._groups: dict[str, int] = {}  # how many workers have a group in memory

    def __bool__(self) -> bool:
        """Whether pieces of work wait for a worker."""
        return bool(self._pending)

    @property
    def left(self) -> list[Work]:
        """The pieces of work that were not done: given up, or still waiting."""
        return [*self._left, *self._pending]

    def take(self, last: Work | None = None) -> Work | None:
        """Return the next piece of work for a worker that did another one last; None without any.

        It is one of the same group, else of a group that fewest workers have in memory.
        """
        if not self._pending:
            return None
        group = last.group if last is not None else None
        same = (n for n, work in enumerate(self._pending) if work.group == group)
        place = next(same, None)
        if place is None:
            numbers = range(len(self._pending))
            place = min(numbers, key=lambda n: self._groups.get(self._pending[n].group, 0))
            if group is not None:
                self._groups[group] = self._groups.get(group, 1) - 1
            chosen = self._pending[place].group
            self._groups[chosen] = self._groups.get(chosen, 0) + 1
        work = self._pending.pop(place)
        self._begun[work.name] = self._begun.get(work.name, 0) + 1
        return work

    def finish(self, work: Work, result: Any) -> None:
        """Tell that a piece of work is done."""
        self._pending += self._done(work, result)

    def fail(self, work: Work) -> None:
        """Tell that a worker ended during a piece of work: another one does it, or nobody."""
        if self._begun[work.name] < ATTEMPTS:
            self._pending.insert(0, work)
        else:
            self._left.append(work)
