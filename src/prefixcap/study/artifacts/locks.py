"""Locks by which several processes share a study's work.

A lock belongs to a process: taking it again inside the process succeeds at once, and the system
frees it however the process ends.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

from prefixcap.study.artifacts.folder import LOCKS

W = TypeVar("W")
_WAIT = -1  # filelock's timeout that never expires


def lock_file(path: Path) -> Path:
    """Return the file that is locked while a process works on `path`."""
    return path.parent / LOCKS / path.name


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file or folder, after waiting for any other process that holds it."""
    with _lock(path).acquire(_WAIT):
        yield


def shared(
    works: Sequence[W],
    path: Callable[[W], Path],
    *,
    wait: bool = True,
    on_wait: Callable[[W], None] = lambda _: None,
) -> Generator[W]:
    """Yield pieces of work, each while this process holds its lock.

    Work whose lock another process holds is tried again later, so that processes share the work
    instead of waiting for each other. It may be complete by the time it is yielded.

    Args:
        works: The pieces of work.
        path: Returns the file or folder that a piece of work writes.
        wait: Wait for other processes if they hold all that is left; it is skipped otherwise.
        on_wait: Called with a piece of work before waiting for it.
    """
    pending = list(works)
    while pending:
        busy: list[W] = []
        for work in pending:
            try:
                lock = _lock(path(work)).acquire(0)
            except Timeout:
                busy.append(work)
                continue
            with lock:
                yield work
        if len(busy) == len(pending):
            if not wait:
                return
            on_wait(busy[0])
            with locked(path(busy[0])):
                yield busy.pop(0)
        pending = busy


def _lock(path: Path) -> FileLock:
    file = lock_file(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    # one object per file and process, so that a process can take a lock that it already holds
    return FileLock(file, is_singleton=True, thread_local=False)
