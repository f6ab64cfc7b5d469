"""TODO."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from prefixcap.study.artifacts.folder import LOCKS

W = TypeVar("W")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds a folder for this process; another one waits. The system frees it at any end.

    A process that holds a folder may take hold of it again.
    """
    with attempt(folder, wait=True):
        yield


def shared(
    works: Sequence[W],
    place: Callable[[W], Path],
    *,
    wait: bool = True,
    waiting: Callable[[W], None] = lambda _: None,
) -> Generator[W]:
    """Gives each piece of work in turn, its place held while it is done.

    What another process holds comes later, so that processes share work rather than wait for each
    other. A piece may therefore be done by the time it is given.

    Args:
        works: the pieces of work.
        place: gives the folder or file that a piece is made in.
        wait: whether to wait for what others hold where nothing else is left; it is left out
            otherwise.
        waiting: told what is waited for, before it is.
    """
    left = list(works)
    while left:
        later: list[W] = []
        for number, work in enumerate(left):
            with attempt(place(work)) as held:
                if held:
                    yield work
                    continue
            if wait and number == len(left) - 1 and len(later) == number:
                waiting(work)
                with locked(place(work)):
                    yield work
            else:
                later.append(work)
        if not wait and len(later) == len(left):
            return
        left = later


_held: set[Path] = set()


@contextlib.contextmanager
def attempt(folder: Path, *, wait: bool = False) -> Iterator[bool]:
    """Holds a folder as `locked` does, where no other process does or `wait` is given.

    Yields:
        Whether this process holds it.
    """
    file = lock_file(folder)
    if file in _held:
        yield True
        return
    try:
        import fcntl
    except ImportError:  # a system without such locks: two processes then do the work twice
        yield True
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        _held.add(file)
        try:
            yield True
        finally:
            _held.discard(file)


def holds(folder: Path) -> bool:
    """Whether this process holds a folder."""
    return lock_file(folder) in _held


def lock_file(folder: Path) -> Path:
    """Returns the file by which a folder is held."""
    return folder.parent / LOCKS / folder.name
