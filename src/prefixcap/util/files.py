"""Atomic writes, JSON, and JSON lines that can be appended to after an interruption."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from secrets import token_hex
from typing import IO, Any

from prefixcap.errors import PrefixcapError
from prefixcap.util.text_files import decode, parse_json


def write_text(path: Path, text: str) -> None:
    """Write a file atomically, and create its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, text.encode())


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write JSON like `write_text`."""
    write_text(path, json.dumps(data, indent=1, ensure_ascii=False) + "\n")


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write JSON lines like `write_text`, one after another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, ((json.dumps(row, ensure_ascii=False) + "\n").encode() for row in rows))


def read_json(path: Path) -> dict[str, Any] | None:
    """Read the output of `write_json`; return None if there is no such file.

    Raises:
        PrefixcapError: If the file cannot be read or has no JSON object.
    """
    try:
        data = parse_json(decode(path.read_bytes()), finite=False)
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        raise broken_file(path, error) from error
    if not isinstance(data, dict):
        raise broken_file(path, "no JSON object")
    return data


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read JSON lines, without an incomplete last line; return [] if there is no such file.

    Raises:
        PrefixcapError: If the file cannot be read, or a line is no JSON object.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise broken_file(path, error) from error
    complete, _, _ = content.rpartition(b"\n")
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(complete.split(b"\n"), 1):
        try:
            text = decode(line).strip()
            row = parse_json(text, finite=False) if text else {}
        except ValueError as error:
            raise broken_file(path, f"line {number}: {error}") from error
        if not isinstance(row, dict):
            raise broken_file(path, f"line {number}: no JSON object")
        if text:
            rows.append(row)
    return rows


def broken_file(path: Path, reason: object) -> PrefixcapError:
    """Return the error to raise for a file that cannot be used but can be created again."""
    return PrefixcapError(f"{path} is broken ({reason}): delete it to create it again")


@contextlib.contextmanager
def appending(path: Path) -> Iterator[IO[str]]:
    """Open a file of JSON lines to append to it; remove an incomplete last line first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = path.read_bytes() if path.exists() else b""
    with path.open("r+b" if content else "wb") as file:
        file.truncate(content.rfind(b"\n") + 1)
    with path.open("a", encoding="utf-8") as lines:
        yield lines


def atomic_write(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Write a file under another name, then rename it: readers see all of it or nothing."""
    parts = [content] if isinstance(content, bytes) else content
    # processes in two containers that share the folder may have the same PID
    temporary = path.with_name(f".{path.name}.{token_hex(4)}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
