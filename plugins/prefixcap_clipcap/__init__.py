"""ClipCap's published decoders, and `import-clipcap` for its checkpoints."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prefixcap.plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    import typer

    from prefixcap.interfaces.component import Component


@hookimpl
def prefixcap_components() -> Iterable[type[Component]]:
    """Return the decoders."""
    from prefixcap_clipcap.configs import ClipCapBeam, ClipCapGenerate2

    return [ClipCapBeam, ClipCapGenerate2]


@hookimpl
def prefixcap_commands(app: typer.Typer) -> None:
    """Add `prefixcap import-clipcap`."""
    from prefixcap_clipcap.command import import_clipcap

    app.command("import-clipcap")(import_clipcap)
