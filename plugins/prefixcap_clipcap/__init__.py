"""ClipCap's published decoders, and `import-clipcap`, which reads what its code trained."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prefixcap.interfaces.component import Component
from prefixcap.plugin.hookspecs import hookimpl
from prefixcap_clipcap.configs import ClipCapBeam, ClipCapGenerate2

if TYPE_CHECKING:
    import typer

__all__ = ["ClipCapBeam", "ClipCapGenerate2", "prefixcap_commands", "prefixcap_components"]


@hookimpl
def prefixcap_components() -> Iterable[type[Component]]:
    """Return the decoders."""
    return [ClipCapBeam, ClipCapGenerate2]


@hookimpl
def prefixcap_commands(app: typer.Typer) -> None:
    """Add `prefixcap import-clipcap`."""
    from prefixcap_clipcap.command import import_clipcap

    app.command("import-clipcap")(import_clipcap)
