"""Sealed .safetensors files: tensors with JSON data, which show whether they were altered later."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefixcap.util import files
from prefixcap.util.files import NO_SEAL, SEAL, AlteredError, read_sealed, seal

if TYPE_CHECKING:
    import numpy as np

# one entry, because the order of several is not defined
_ENTRY = "info"


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray], info: Mapping[str, Any]) -> None:
    """Write a sealed file of arrays and JSON data like `files.atomic_write`."""
    from safetensors.numpy import save

    text = json.dumps({SEAL: NO_SEAL, **info})
    files.atomic_write(path, seal(save(dict(tensors), {_ENTRY: text})))


def read_tensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """Read the output of `write_tensors`; return None if there is no such file.

    Raises:
        AlteredError: If the file is not as it was written.
        PrefixcapError: If the file cannot be read.
    """
    from safetensors.numpy import load

    content = read_sealed(path)
    if content is None:
        return None
    return load(content), _info(content[8 : 8 + int.from_bytes(content[:8], "little")])


def read_info(path: Path) -> dict[str, Any]:
    """Read only the JSON data of a file, whose hash is not checked.

    Raises:
        AlteredError: If the file has no such data.
        PrefixcapError: If the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            return _info(file.read(min(length, path.stat().st_size)))
    except OSError as error:
        raise files.unreadable(path, error) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise AlteredError(path, f"its header is broken: {error}") from error


def _info(header: bytes) -> dict[str, Any]:
    info: dict[str, Any] = json.loads(json.loads(header)["__metadata__"][_ENTRY])
    del info[SEAL]
    return info
