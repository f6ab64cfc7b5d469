"""A study as a TOML file: the options of `bench`, by their names."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from prefixcap.errors import PrefixcapError, nearest
from prefixcap.study.store import write_text


def read(path: Path, known: Collection[str]) -> dict[str, Any]:
    """Reads a study file.

    Args:
        path: the file.
        known: the keys that it may have.

    Raises:
        PrefixcapError: the file is missing or no TOML, or a key is not known.
    """
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise PrefixcapError(f"cannot read the study {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PrefixcapError(f"the study {path} is not TOML: {error}") from error
    for key, value in data.items():
        if key not in known:
            raise PrefixcapError(f"the study {path}: no key {key!r}{nearest(key, known)}")
        if not _is_plain(value):
            raise PrefixcapError(
                f"the study {path}: {key!r} must be a text, a number or a list of these, not "
                f"{value!r}"
            )
    return data


def write(path: Path, choices: Mapping[str, Any]) -> None:
    """Writes a study file that `read` reads, without the choices that were not made."""
    lines = ["# prefixcap bench FILE.toml"]
    for key, value in choices.items():
        if value is None or value is False or value == []:
            continue
        lines.append(f"{key} = {json.dumps(value, ensure_ascii=False)}")
    write_text(path, "\n".join(lines) + "\n")


def _is_plain(value: object) -> bool:
    if isinstance(value, list):
        return all(isinstance(item, str | int) for item in value)
    return isinstance(value, str | int)
