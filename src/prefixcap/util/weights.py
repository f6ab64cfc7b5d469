"""Weights in PyTorch's files, read without running any code of the file.

Some files consist of code, such as TorchScript archives. They are loaded only if the user trusts
them, by `trust` or by `--trust` in the shell. Trust belongs to a file's content and ends with the
process: it is never saved, so no run, study or configuration can grant it.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Collection
from hashlib import file_digest, sha256
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefixcap.errors import PrefixcapError
from prefixcap.util.text_files import check_file, expanded, open_file

if TYPE_CHECKING:
    from torch import Tensor

_TRUSTED: set[str] = set()
"""The SHA-256 of each file whose code this process may run."""
_FOREIGN = re.compile(r"GLOBAL (?:__main__\.)?([\w.]+)")


def trust(path: str | Path) -> str:
    """Let this process run the code in a file, as it is now, such as a TorchScript archive.

    Such code can do whatever you can. Trust a file only if you know who made it.

    Returns:
        The SHA-256 of the file's content.

    Raises:
        PrefixcapError: If the file cannot be read.
    """
    with open_file(expanded(str(path)), "the trusted file") as file:
        digest = file_digest(file, "sha256").hexdigest()
    _TRUSTED.add(digest)
    return digest


def trust_each(files: list[Path] | None) -> list[Path] | None:
    """Trust the files that the shell's option `--trust` names, and return them."""
    for file in files or ():
        trust(file)
    return files


def load_state_dict(path: Path, published: Collection[str] = ()) -> dict[str, Tensor]:
    """Read a file's tensors by name.

    A pickled state dict is read in weights-only mode. A TorchScript archive is loaded only if it is
    trusted, or its SHA-256 is among the `published` ones.

    Raises:
        PrefixcapError: If the file would run code, cannot be read, or has no tensors by name.
    """
    import torch

    check_file(path)
    if is_torchscript(path):
        return _load_torchscript(path, published)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip files and torch each have errors of their own
        raise PrefixcapError(f"{path}: {reason_of(error)}") from error
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor)
        for name, tensor in content.items()
    ):
        raise PrefixcapError(f"{path}: not a state_dict of tensors by name, but {_kind(content)}")
    return dict(content)


def is_torchscript(path: Path) -> bool:
    """Return whether a file is a TorchScript archive, which is code."""
    # `torch.load` also refuses what this does not recognize
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.rpartition("/")[2] == "constants.pkl" for name in archive.namelist())
    except Exception:  # no zip file; a broken one can fail in many ways
        return False


def _load_torchscript(path: Path, published: Collection[str]) -> dict[str, Tensor]:
    import torch

    # digested and loaded from memory, so that nobody can exchange the file in between
    content = path.read_bytes()
    digest = sha256(content).hexdigest()
    if digest not in _TRUSTED and digest not in published:
        raise PrefixcapError(
            f"{path}: a TorchScript archive, which is code, and prefixcap runs no code of files. "
            f"If you know who made it, allow it with --trust {path} (in Python: "
            f"prefixcap.trust({str(path)!r})); or save its state_dict with torch.save, and use that"
        )
    try:
        jit: Any = torch.jit
        return dict(jit.load(BytesIO(content), map_location="cpu").state_dict())
    except Exception as error:
        raise PrefixcapError(f"{path}: {reason_of(error)}") from error


def reason_of(error: Exception) -> str:
    """Say why a file was not read in weights-only mode; torch's texts recommend another mode."""
    text = " ".join(str(error).split())
    if foreign := _FOREIGN.search(text):
        return (
            f"not read, because it holds {foreign[1]}: only tensors are read from files (weights "
            "only), as anything else may run code"
        )
    reason = text.partition("WeightsUnpickler error:")[2] or text
    if reason.startswith("Weights only load failed"):
        reason = reason.rpartition("trusted source.")[2] or "it holds more than tensors"
    return f"not read as weights only: {reason.strip()[:200] or type(error).__name__}"


def _kind(content: object) -> str:
    if not isinstance(content, dict):
        return f"a {type(content).__name__}"
    first = ", ".join(map(str, list(content)[:3]))
    return f"a dict of {first}{', ...' if len(content) > 3 else ''}" if first else "an empty dict"
