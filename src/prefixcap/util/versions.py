"""The versions of installed distributions."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def versions() -> dict[str, str]:
    """Return the versions of the distributions that results may depend on."""
    return {name: version_of(name) for name in ("prefixcap", "torch", "transformers")}


def version_of(distribution: str) -> str:
    """Return the version of an installed distribution, or "unknown"."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"
