"""Captioners that ClipCap's own code trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefixcap.clipcap.checkpoint import Checkpoint, read
    from prefixcap.clipcap.convert import import_checkpoint

_HOMES = {"Checkpoint": "checkpoint", "import_checkpoint": "convert", "read": "checkpoint"}

__all__ = ["Checkpoint", "import_checkpoint", "read"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    from prefixcap.runtime import prepare

    prepare()
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
