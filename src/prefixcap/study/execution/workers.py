"""Which processes work on a study: they share what is left of it, and so the time."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

from prefixcap.study.artifacts.folder import LOCKS
from prefixcap.study.artifacts.locks import attempt, holds, lock_file, locked


@contextlib.contextmanager
def at_work(folder: Path) -> Iterator[None]:
    """Says that this process works on a study, until it ends in whatever way."""
    # two containers may have the same name and numbers of processes
    own = folder / f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    with locked(own):
        try:
            yield
        finally:
            lock_file(own).unlink(missing_ok=True)


def others(folder: Path) -> int:
    """Counts the other processes that work on a study, and clears away what dead ones left."""
    found = 0
    for file in (folder / LOCKS).glob("*"):
        if holds(folder / file.name):
            continue
        with attempt(folder / file.name) as dead:
            if dead:
                file.unlink(missing_ok=True)
            else:
                found += 1
    return found
