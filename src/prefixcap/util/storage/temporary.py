"""Temporary files and folders; those that a killed process left are removed by other processes.

The process that creates one holds a lock on it until it ends, even if it is killed. A process that
gets the lock therefore knows that no other one uses it, on this or on another machine.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from secrets import token_hex
from tempfile import gettempdir, mkdtemp
from typing import IO

try:
    import fcntl
except ImportError:  # Windows, where a file that is open can be neither renamed nor deleted
    fcntl = None  # type: ignore[assignment]

_PREFIX = "prefixcap-"
_HELD = ".in-use"
"""The file in a temporary folder that is locked."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a new file that replaces another one at the end, unless there is an error."""
    # processes in two containers that share the folder may have the same PID
    temporary = path.with_name(f".{path.name}.{token_hex(4)}.{os.getpid()}.tmp")
    try:
        with _held(temporary) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if fcntl is not None:
                temporary.replace(path)  # while it is locked
        if fcntl is None:
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def temporary_folder(parent: Path | None = None) -> Iterator[Path]:
    """Create a folder that is removed at the end, by default in the system's temporary folder.

    Folders that killed processes left there are removed first.
    """
    place = Path(gettempdir()) if parent is None else parent
    place.mkdir(parents=True, exist_ok=True)
    remove_abandoned(place.glob(f"{_PREFIX}*"))
    folder = Path(mkdtemp(prefix=_PREFIX, dir=place))
    try:
        with _held(folder / _HELD):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def temporary_files(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder that `replacing` opened, without following links."""
    for place, _, names in os.walk(folder):
        yield from (Path(place) / n for n in sorted(names) if n[0] == "." and n.endswith(".tmp"))


def is_abandoned(path: Path) -> bool:
    """Return whether no process uses a temporary file or folder of this user any more."""
    with _taken(path) as taken:
        return taken


def remove_abandoned(paths: Iterable[Path]) -> None:
    """Remove the given temporary files and folders, except those that a process still uses."""
    for path in paths:
        with _taken(path) as taken, contextlib.suppress(OSError):
            if taken and path.is_dir():
                shutil.rmtree(path)
            elif taken:
                path.unlink()


@contextlib.contextmanager
def _held(path: Path) -> Iterator[IO[bytes]]:
    """Open a new file and hold its lock."""
    while True:
        with path.open("wb") as file:
            if fcntl is not None:
                with contextlib.suppress(OSError):  # a file system without locks
                    fcntl.flock(file, fcntl.LOCK_EX)
                if not path.exists():
                    continue  # another process had the lock first, and removed the file
            yield file
            return


@contextlib.contextmanager
def _taken(path: Path) -> Iterator[bool]:
    """Take the lock of a temporary file or folder, if its process has ended."""
    with contextlib.ExitStack() as stack:
        yield _take(path, stack)


def _take(path: Path, stack: contextlib.ExitStack) -> bool:
    held = path / _HELD if path.is_dir() else path
    if path.is_symlink() or held.is_symlink():
        return False
    try:
        if fcntl is None:
            held.rename(held)
            return True
        file = stack.enter_context(held.open("rb"))
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.fstat(file.fileno()).st_uid == os.getuid()
    except OSError:
        return False
