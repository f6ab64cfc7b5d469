"""Which processes work on a study: they share what is left of it, and so the time."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from prefixcap.study.store import LOCKS, attempt, lock_file, locked


@contextlib.contextmanager
def at_work(folder: Path) -> Iterator[None]:
    """Says that this process works on a study, until it ends in whatever way."""
    with locked(_own(folder)):
        try:
            yield
        finally:
            lock_file(_own(folder)).unlink(missing_ok=True)


def others(folder: Path) -> int:
    """Counts the other processes that work on a study, and clears away what dead ones left."""
    found = 0
    for file in (folder / LOCKS).glob("*"):
        if file.name == _own(folder).name:
            continue
        with attempt(folder / file.name) as dead:
            if dead:
                file.unlink(missing_ok=True)
            else:
                found += 1
    return found


def _own(folder: Path) -> Path:
    return folder / f"{socket.gethostname()}-{os.getpid()}"
