"""Files that are all there or not there: atomic writes, resumable lines, and locks."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from secrets import token_hex
from typing import IO, Any

from prefixcap.errors import PrefixcapError


def write_text(path: Path, text: str) -> None:
    """Writes a file under another name and renames it, its folder made where it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, text.encode())


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Writes JSON as `write_text` does."""
    write_text(path, json.dumps(data, indent=1, ensure_ascii=False) + "\n")


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes JSON lines as `write_text` does, one after another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, ((json.dumps(row, ensure_ascii=False) + "\n").encode() for row in rows))


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


def atomic_write(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Writes a file under another name, then renames it: readers see all of it or nothing."""
    parts = [content] if isinstance(content, bytes) else content
    # two processes of two containers may have one number
    temporary = path.with_name(f".{path.name}.{token_hex(4)}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
