"""Files that are all there or not there: atomic writes, resumable lines, and locks."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

from prefixcap import runs
from prefixcap.errors import PrefixcapError

W = TypeVar("W")
LOCKS = ".locks"


def write_text(path: Path, text: str) -> None:
    """Writes a file under another name and renames it, its folder made where it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    runs.replace(path, text.encode())


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Writes JSON as `write_text` does."""
    write_text(path, json.dumps(data, indent=1, ensure_ascii=False) + "\n")


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes JSON lines as `write_text` does, one after another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    runs.replace(path, ((json.dumps(row, ensure_ascii=False) + "\n").encode() for row in rows))


def read_json(path: Path) -> dict[str, Any] | None:
    """Reads what `write_json` wrote; None where there is no such file.

    Raises:
        PrefixcapError: the file is not what `write_json` writes.
    """
    try:
        data = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        raise PrefixcapError(f"{path} is broken ({error}): delete it to make it anew") from error
    if not isinstance(data, dict):
        raise PrefixcapError(f"{path} is broken (no JSON object): delete it to make it anew")
    return data


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Reads JSON lines; a last line that was broken off is left out."""
    try:
        text = path.read_text("utf-8", errors="replace")
    except FileNotFoundError:
        return []
    whole, _, _ = text.rpartition("\n")
    try:
        return [json.loads(line) for line in whole.split("\n") if line]
    except ValueError as error:
        raise PrefixcapError(f"{path} is broken ({error}): delete it to make it anew") from error


@contextlib.contextmanager
def appending(path: Path) -> Iterator[IO[str]]:
    """Opens a file of JSON lines to go on with, after its last whole line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = path.read_bytes() if path.exists() else b""
    with path.open("r+b" if content else "wb") as file:
        file.truncate(content.rfind(b"\n") + 1)
    with path.open("a", encoding="utf-8") as lines:
        yield lines


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
