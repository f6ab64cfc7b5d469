"""TODO."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


def versions() -> dict[str, str]:
    """Returns the versions of what results may depend on, by distribution."""
    return {name: version_of(name) for name in ("prefixcap", "torch", "transformers")}


def version_of(distribution: str) -> str:
    """Returns the version of an installed distribution, or "unknown"."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"
