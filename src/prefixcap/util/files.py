"""Atomic writes, and JSON and JSON lines that show whether they were altered later.

A sealed file contains the SHA-256 of its own content, computed with zeros in place of the hash, so
that file and hash are always written together: see `seal` and `read_sealed`.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from prefixcap.errors import PrefixcapError
from prefixcap.util.shapes import mismatch
from prefixcap.util.storage.temporary import replacing
from prefixcap.util.text_files import decode, parse_json

SEAL = "sha256"
NO_SEAL = "0" * 64
"""Stands for the hash until `seal` fills it in."""
_SEAL_PLACE = re.compile(rb"sha256\W{1,6}([0-9a-f]{64})")
_CHECK = ', "check": "'
IN_STUDY = "run `prefixcap bench` on the study to recreate it"


class AlteredError(PrefixcapError):
    """A file of a study does not have the content that it was written with.

    Attributes:
        path: The file.
        reason: How this was noticed.
        remade: The message for files that are then recreated.
    """

    def __init__(self, path: Path, reason: object, cure: str = IN_STUDY) -> None:
        self.path, self.reason = path, reason
        what = f"{path} was altered after it was written ({reason})"
        self.remade = f"{what}: it is recreated"
        super().__init__(f"{what}: {cure}")


def seal(content: bytes) -> list[bytes]:
    """Replace the first `"sha256": NO_SEAL` by the hash; return the parts to write.

    It may be anywhere in JSON text, such as the header of a .safetensors file.
    """
    start, end = _seal_place(content) or (0, 0)
    if content[start:end] != NO_SEAL.encode():
        raise ValueError("the content has no place for its hash")
    return [content[:start], sha256(content).hexdigest().encode(), content[end:]]


def read_sealed(path: Path) -> bytes | None:
    """Return a file's content, with the hash that `seal` wrote; None if there is no such file.

    Raises:
        AlteredError: If the hash is missing or does not belong to the content.
        PrefixcapError: If the file cannot be read.
    """
    content = read_bytes(path)
    if content is None:
        return None
    start, end = _seal_place(content) or (0, 0)
    view = memoryview(content)
    actual = sha256(view[:start])
    actual.update(NO_SEAL.encode())
    actual.update(view[end:])
    if not end:
        raise AlteredError(path, "its SHA-256 is missing")
    if actual.hexdigest().encode() != content[start:end]:
        raise AlteredError(path, "its SHA-256 differs")
    return content


def _seal_place(content: bytes) -> tuple[int, int] | None:
    place = _SEAL_PLACE.search(content)
    return place and place.span(1)


def write_text(path: Path, text: str) -> None:
    """Write a text like `atomic_write`."""
    atomic_write(path, text.encode())


def write_json(path: Path, data: Mapping[str, Any], *, indent: int | None = 1) -> None:
    """Write sealed JSON like `atomic_write`."""
    text = json.dumps({SEAL: NO_SEAL, **data}, indent=indent, ensure_ascii=False) + "\n"
    atomic_write(path, seal(text.encode()))


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> str:
    """Write JSON lines like `atomic_write`, one by one; return the SHA-256 of the file."""
    content = sha256()

    def lines() -> Iterator[bytes]:
        for row in rows:
            line = (json.dumps(row, ensure_ascii=False) + "\n").encode()
            content.update(line)
            yield line

    atomic_write(path, lines())
    return content.hexdigest()


def read_json(path: Path, shape: Any = None, *, sealed: bool = True) -> dict[str, Any] | None:
    """Read the output of `write_json`; return None if there is no such file.

    Args:
        path: The file.
        shape: The shape that its content must have (`prefixcap.util.shapes`).
        sealed: Whether it has a hash of itself.

    Raises:
        AlteredError: If the file is not as it was written.
        PrefixcapError: If the file cannot be read.
    """
    content = read_sealed(path) if sealed else read_bytes(path)
    if content is None:
        return None
    data = _json_object(path, content, "it")
    if sealed:
        del data[SEAL]
    if shape is not None and (found := mismatch(data, shape)):
        raise AlteredError(path, found)
    return data


def read_before_seals(path: Path, current: int) -> dict[str, Any] | None:
    """Read a file of an older format, which had no seal; return None if it is not one.

    Raises:
        PrefixcapError: If the file cannot be read.
    """
    try:
        data = read_json(path, sealed=False) or {}
    except AlteredError:
        return None
    return None if SEAL in data or data.get("format") == current else data


def read_lines(
    path: Path, digest: str | None = None, count: int | None = None
) -> list[dict[str, Any]]:
    """Read JSON lines, without an incomplete last line; return [] if there is no such file.

    Args:
        path: The file.
        digest: The SHA-256 that it must have.
        count: How many of the first lines to read; all by default.

    Raises:
        AlteredError: If a line is no JSON object, or the file has another SHA-256 than `digest` or
            is missing although it has one.
        PrefixcapError: If the file cannot be read.
    """
    content = read_bytes(path)
    if content is None:
        if digest is not None:
            raise AlteredError(path, "it no longer exists")
        return []
    if digest is not None and sha256(content).hexdigest() != digest:
        raise AlteredError(path, "its SHA-256 differs")
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(BytesIO(content), 1):
        if len(rows) == count or not line.endswith(b"\n"):
            break
        if line.strip():
            rows.append(_json_object(path, line, f"line {number}"))
    return rows


def _json_object(path: Path, content: bytes, where: str) -> dict[str, Any]:
    try:
        data = parse_json(decode(content), finite=False)
    except ValueError as error:
        raise AlteredError(path, f"{where} is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise AlteredError(path, f"{where} is no JSON object")
    return data


def checked_line(row: Mapping[str, Any], scope: str = "") -> str:
    """Return a row as a line of JSON with a hash of itself, to be appended to a file.

    The hash also covers a `scope`, so that lines of another file are noticed too.
    """
    text = json.dumps(row, ensure_ascii=False)[:-1]
    return f'{text}{_CHECK}{_line_check(text, scope)}"}}\n'


def read_checked(path: Path, scope: str = "") -> tuple[list[dict[str, Any]], int]:
    """Read a file for `parse_checked`; there are no lines if there is no such file."""
    return parse_checked(read_bytes(path) or b"", scope)


def parse_checked(content: bytes, scope: str = "") -> tuple[list[dict[str, Any]], int]:
    """Parse lines that `checked_line` made, without an incomplete last line.

    Returns:
        The rows whose lines are as they were written, and the number of other lines.
    """
    complete, _, _ = content.decode("utf-8", errors="replace").rpartition("\n")
    rows, altered = [], 0
    for line in complete.split("\n") if complete else ():
        text, _, check = line.rpartition(_CHECK)
        if text and check == f'{_line_check(text, scope)}"}}':
            rows.append(json.loads(f"{text}}}"))
        else:
            altered += 1
    return rows, altered


def _line_check(text: str, scope: str) -> str:
    return sha256(f"{scope}\n{text}".encode()).hexdigest()[:16]


def read_bytes(path: Path) -> bytes | None:
    """Return a file's content, or None if there is no such file.

    Raises:
        PrefixcapError: If the file cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> PrefixcapError:
    """Return the error to raise for a file that cannot be read."""
    return PrefixcapError(f"{path} cannot be read: {error.strerror}")


@contextlib.contextmanager
def unless_read_only() -> Iterator[None]:
    """Ignore that a file cannot be written because its folder is read-only."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Create a folder of this process alone, with `-2` or a higher number added if it exists.

    It is removed at the end if it is still empty.
    """
    made = path
    for number in itertools.count(2):
        try:
            made.mkdir(parents=True)
            break
        except FileExistsError:
            made = path.with_name(f"{path.name}-{number}")
    try:
        yield made
    finally:
        with contextlib.suppress(OSError):
            made.rmdir()


@contextlib.contextmanager
def appending(path: Path) -> Iterator[IO[str]]:
    """Open a file of JSON lines to append to it; remove an incomplete last line first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = path.read_bytes() if path.exists() else b""
    with path.open("r+b" if content else "wb") as file:
        file.truncate(content.rfind(b"\n") + 1)
    with path.open("a", encoding="utf-8") as lines:
        yield lines


def atomic_write(path: Path, content: bytes | Iterable[bytes | memoryview]) -> None:
    """Write a file under another name, then rename it: readers see all of it or nothing.

    Its folder is created if there is none.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = [content] if isinstance(content, bytes) else content
    with replacing(path) as file:
        file.writelines(parts)
