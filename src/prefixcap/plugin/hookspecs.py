"""The hooks that plugins implement, and the markers that a plugin author needs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pluggy

from prefixcap.interfaces.component import Component

PROJECT = "prefixcap"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def prefixcap_components() -> Iterable[type[Component]]:  # type: ignore[empty-body]
    """Returns the config classes that a plugin offers.

    The base class of each says its kind. The hook takes nothing and imports nothing heavy.
    """


@hookspec
def prefixcap_commands(app: Any) -> None:
    """Add commands to the shell.

    Called once, before the command line is parsed, unless a built-in command is called. It must
    import nothing heavy: commands import what they need when they run.

    Args:
        app: The `typer.Typer` of the shell.
    """
