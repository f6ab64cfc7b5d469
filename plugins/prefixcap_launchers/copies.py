"""Copies of a folder's files on machines that cannot reach the folder.

A work says which files it needs, makes and adds lines to. They are fetched before it and sent after
it, if they changed. Files whose names begin with a dot (locks, temporary files) are not copied.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeAlias

import attrs

from prefixcap.interfaces.launching.launcher import Work
from prefixcap.util.storage.temporary import replacing

State: TypeAlias = tuple[int, int]
"""A file's time of change in nanoseconds, and its size."""


class Original(Protocol):
    """The folder itself, as a copy sees it."""

    def states(self, paths: Sequence[str]) -> dict[str, State]:
        """Return the states of the files at and below paths."""

    def read(self, path: str) -> bytes:
        """Return a file's content."""

    def write(self, path: str, content: bytes) -> State:
        """Replace a file; return its new state."""

    def append(self, path: str, lines: bytes) -> None:
        """Add lines to a file, to which others may add lines as well."""

    def delete(self, path: str) -> None:
        """Delete a file."""


class Folder:
    """A folder of this machine.

    Args:
        path: Its absolute path.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def states(self, paths: Sequence[str]) -> dict[str, State]:
        """Return the states of the files at and below paths, the oldest first."""
        states = {
            file.relative_to(self.path).as_posix(): _state(file)
            for path in paths
            for file in _files(self.path / path)
        }
        return dict(sorted(states.items(), key=lambda item: item[1][0]))

    def read(self, path: str) -> bytes:
        """Return a file's content."""
        return (self.path / path).read_bytes()

    def write(self, path: str, content: bytes) -> State:
        """Replace a file; return its new state."""
        target = self.path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as file:
            file.write(content)
        return _state(target)

    def append(self, path: str, lines: bytes) -> None:
        """Add lines to a file, to which others may add lines as well."""
        target = self.path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("ab", buffering=0) as file:
            file.write(lines)  # at once, so that the lines of two processes do not mix

    def delete(self, path: str) -> None:
        """Delete a file."""
        (self.path / path).unlink(missing_ok=True)


@attrs.define
class FolderCopy:
    """A copy of some files of a folder, and the states in which both were the same.

    Attributes:
        original: The folder.
        folder: The folder of the copy.
    """

    original: Original
    folder: Folder
    _theirs: dict[str, State] = attrs.field(factory=dict, init=False)
    _own: dict[str, State] = attrs.field(factory=dict, init=False)

    def fetch(self, work: Work) -> None:
        """Fetch what a work needs, if it changed."""
        theirs = self.original.states(work.needs)
        for path in self.folder.states(work.needs).keys() - theirs.keys():
            self._forget(path)
            self.folder.delete(path)
        for path, state in theirs.items():
            if self._theirs.get(path) != state:
                self._own[path] = self.folder.write(path, self.original.read(path))
                self._theirs[path] = state

    def send(self, work: Work) -> None:
        """Send what a work has made, in the order in which it was made."""
        for path in work.appends:
            before = self._own.get(path, (0, 0))[1]
            for state in self.folder.states([path]).values():
                # it is shorter if lines were removed, of which none is missing in the original
                lines = self.folder.read(path)[before if before <= state[1] else 0 :]
                if lines:
                    self.original.append(path, lines)
                self._own[path] = state
        own = self.folder.states(work.makes)
        for path in [path for path in self._theirs if _is_below(path, work.makes)]:
            if path not in own:
                self._forget(path)
                self.original.delete(path)
        for path, state in own.items():
            if self._own.get(path) != state:
                self._theirs[path] = self.original.write(path, self.folder.read(path))
                self._own[path] = state

    def _forget(self, path: str) -> None:
        self._theirs.pop(path, None)
        self._own.pop(path, None)


def _is_below(path: str, parents: Iterable[str]) -> bool:
    return any(path == parent or path.startswith(f"{parent}/") for parent in parents)


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    elif path.is_dir():
        for each in path.iterdir():
            if not each.name.startswith("."):
                yield from _files(each)


def _state(file: Path) -> State:
    state = file.stat()
    return state.st_mtime_ns, state.st_size
