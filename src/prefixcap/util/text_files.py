"""Text, JSON and TOML files, read strictly: every error is a sentence that names the file."""

from __future__ import annotations

import json
import os
import re
import stat
import sys
import tomllib
from codecs import BOM_UTF16_BE, BOM_UTF16_LE, BOM_UTF32_BE, BOM_UTF32_LE
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any, Never

from prefixcap.errors import PrefixcapError, nearest, shown

MAX_BYTES = 2**30
"""The largest file that is read at once."""
MAX_LINE = 2**26
"""The longest line of a file of JSON lines, in bytes."""
MAX_DEPTH = 100
"""How deep lists and objects may be nested."""
MAX_DIGITS = 4300
"""Python's own limit on the digits of an integer."""

# UTF-32's marks first: the one of UTF-16 is the beginning of one of them
_MARKS = {
    BOM_UTF32_LE: "UTF-32",
    BOM_UTF32_BE: "UTF-32",
    BOM_UTF16_LE: "UTF-16",
    BOM_UTF16_BE: "UTF-16",
}
_BOM = "\ufeff"
# escapes of surrogate pairs, and of their halves
_SUSPICIOUS = re.compile(r"\\u[dD][89a-fA-F]")
_HALF = re.compile("[\ud800-\udfff]")
# the pipe of `prefixcap eval <(...)` has a writer; one with a name may have none
_OPEN_PIPES = ("/dev/stdin", "/dev/fd/", "/proc/self/fd/")


def decode(content: bytes) -> str:
    """Decode UTF-8, without a byte order mark.

    Raises:
        ValueError: If it is in another encoding, or has a NUL byte.
    """
    for mark, encoding in _MARKS.items():
        if content.startswith(mark):
            raise ValueError(f"it is in {encoding}: save it in UTF-8")
    try:
        text = content.decode("utf-8").removeprefix(_BOM)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = content[error.start]
        raise ValueError(f"the byte 0x{byte:02x} in line {line} is not UTF-8") from None
    if "\0" in text:
        if "\0" in text[:4]:
            raise ValueError("it has NUL bytes, as in UTF-16: save it in UTF-8")
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ValueError(f"it has a NUL byte in line {line}")
    return text


def parse_json(text: str, *, finite: bool = True) -> Any:
    """Parse JSON.

    Args:
        text: The JSON, which may begin with a byte order mark.
        finite: Whether NaN and Infinity, which are not JSON, are refused.

    Raises:
        ValueError: If it is not JSON, a key appears twice in one object, lists or objects are
            nested more than `MAX_DEPTH` deep, or a string has half of a surrogate pair.
    """
    constant = _refuse_constant if finite else None
    try:
        data = json.loads(
            text.removeprefix(_BOM), object_pairs_hook=_object, parse_constant=constant
        )
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if "\n" in text else ""
        raise ValueError(f"{error.msg.removesuffix(' at')} at {line}column {error.colno}") from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:
        raise _plain(error) from None
    if text.count("[") + text.count("{") > MAX_DEPTH:
        _check_depth(data)
    if _SUSPICIOUS.search(text):
        _check_characters(data)
    return data


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML, which may begin with a byte order mark; raises like `parse_json`."""
    try:
        data = tomllib.loads(text.removeprefix(_BOM))
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:
        raise _plain(error) from None
    _check_depth(data)
    return data


def load_json(path: Path, what: str = "") -> Any:
    """Read a JSON file.

    Args:
        path: The file.
        what: What the file is, to say in an error, such as "the split file".

    Raises:
        PrefixcapError: If it cannot be read, or is not JSON that `parse_json` accepts.
    """
    try:
        return parse_json(read_text(path, what))
    except ValueError as error:
        raise PrefixcapError(f"{_named(path, what)} is not JSON: {error}") from error


def load_toml(path: Path, what: str = "") -> dict[str, Any]:
    """Read a TOML file; raises like `load_json`."""
    try:
        return parse_toml(read_text(path, what))
    except ValueError as error:
        raise PrefixcapError(f"{_named(path, what)} is not TOML: {error}") from error


def load_lines(path: Path, what: str = "") -> Iterator[tuple[int, Any]]:
    """Read a file of JSON lines; yield the number and the value of each line that is not blank.

    Raises:
        PrefixcapError: Like `load_json`; the message has the number of the line.
    """
    named = _named(path, what)
    for number, line in enumerate(_raw_lines(path, what), 1):
        place = f"{named}, line {number}"
        if len(line) > MAX_LINE:
            raise PrefixcapError(
                f"{place}: longer than {MAX_LINE >> 20} MiB; a file of JSON lines has one object "
                "in each line"
            )
        try:
            text = decode(line).strip()
            value = parse_json(text) if text else None
        except ValueError as error:
            reason = str(error).replace(" in line 1", "")
            raise PrefixcapError(f"{place}: not JSON: {reason}") from error
        if text:
            yield number, value


def _raw_lines(path: Path, what: str) -> Iterator[bytes]:
    with open_file(path, what) as file:
        try:
            while line := file.readline(MAX_LINE + 1):
                yield line
        except OSError as error:
            raise _unreadable(path, what, error) from error


def read_text(path: Path, what: str = "") -> str:
    """Read a file in UTF-8, without a byte order mark.

    Raises:
        PrefixcapError: If it cannot be read, is larger than `MAX_BYTES` or in another encoding.
    """
    with open_file(path, what) as file:
        try:
            is_small = os.fstat(file.fileno()).st_size <= MAX_BYTES
            content = file.read(MAX_BYTES + 1) if is_small else b""
        except OSError as error:
            raise _unreadable(path, what, error) from error
    if not is_small or len(content) > MAX_BYTES:
        raise PrefixcapError(f"{_named(path, what)} is larger than {MAX_BYTES >> 30} GiB")
    try:
        return decode(content)
    except ValueError as error:
        raise PrefixcapError(f"{_named(path, what)} cannot be read as text: {error}") from error


def open_file(path: Path, what: str = "") -> BufferedReader:
    """Open a file to read it; a pipe with a name is not opened, as it may have no writer.

    Raises:
        PrefixcapError: If it is missing, is no regular file, or must not be read.
    """
    check_file(path, what)
    try:
        return path.open("rb")
    except OSError as error:
        raise _unreadable(path, what, error) from error


def expanded(path: str) -> Path:
    """Return a path with `~` replaced by the user's folder.

    Raises:
        PrefixcapError: If there is no such user, or the user has no folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise PrefixcapError(f"{shown(path)}: the folder that ~ names is not known") from error


def check_file(path: Path, what: str = "") -> None:
    """Raise like `open_file` if there is no regular file of this name."""
    named = _named(path, what)
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116  # `Path.is_file` hides some errors, not all
    except (FileNotFoundError, NotADirectoryError):
        raise PrefixcapError(f"{named} does not exist{_neighbor(path)}") from None
    except OSError as error:
        raise _unreadable(path, what, error) from error
    except ValueError:  # NUL in the name
        raise PrefixcapError(f"{what or 'the file'} {shown(str(path))} is no file name") from None
    if stat.S_ISDIR(mode):
        raise PrefixcapError(f"{named} is a folder, not a file")
    if not stat.S_ISREG(mode) and not str(path).startswith(_OPEN_PIPES):
        raise PrefixcapError(f"{named} is no regular file but a pipe, a socket or a device")


def _neighbor(path: Path) -> str:
    try:
        hint = nearest(path.name, [each.name for each in path.parent.iterdir()])
    except OSError:
        return ""
    close, mark, _ = hint.partition("?")  # without the list of a folder's files
    return close + mark if mark else ""


def _named(path: Path, what: str) -> str:
    return f"{what} {path}" if what else str(path)


def _unreadable(path: Path, what: str, error: OSError) -> PrefixcapError:
    return PrefixcapError(f"{_named(path, what)} cannot be read: {error.strerror or error}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"the key {shown(key)} appears twice in one object")
            seen.add(key)
    return result


def _refuse_constant(name: str) -> Never:
    raise ValueError(f"{name} is not JSON: write null, or leave it out")


def _plain(error: ValueError) -> ValueError:
    if "integer string conversion" in str(error):
        limit = sys.get_int_max_str_digits() or MAX_DIGITS
        return ValueError(f"a number has more than {limit} digits")
    return error


def _too_deep() -> ValueError:
    return ValueError(f"lists or objects are nested more than {MAX_DEPTH} deep")


def _check_depth(data: Any) -> None:
    layer = _containers([data])
    for _ in range(MAX_DEPTH):
        layer = [part for each in layer for part in _containers(each)]
        if not layer:
            return
    raise _too_deep()


def _containers(values: dict[str, Any] | list[Any]) -> list[Any]:
    items = values.values() if isinstance(values, dict) else values
    return [value for value in items if isinstance(value, dict | list)]


def _check_characters(data: Any) -> None:
    layer: list[Any] = [[data]]
    while layer:
        for part in layer:
            for text in (*part, *(part.values() if isinstance(part, dict) else ())):
                if isinstance(text, str) and _HALF.search(text):
                    raise ValueError(f"a text contains half a character: {shown(text)}")
        layer = [each for part in layer for each in _containers(part)]
