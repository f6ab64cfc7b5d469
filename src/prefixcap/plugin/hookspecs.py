"""The hooks that plugins implement, and the marker for implementations."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from prefixcap.interfaces.component import Component
    from prefixcap.interfaces.events import Event, TrackerConfig

PROJECT = "prefixcap"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def prefixcap_components() -> Iterable[type[Component]]:  # type: ignore[empty-body]
    """Return the plugin's config classes; their base classes determine their kinds.

    Called once per registry. It must not import heavy libraries.
    """


@hookspec
def prefixcap_commands(app: Any) -> None:
    """Add commands to the shell with `app.command(name)(function)`; `app` is a `typer.Typer`.

    A group of commands is added with `app.add_typer(group, name=...)`.

    Called for `prefixcap --help`, `prefixcap plugins` and every command that is not built in. It
    must not import heavy libraries: import them in the command. A name that is built in, or that
    another plugin uses, is refused.
    """


@hookspec
def prefixcap_events(event: Event) -> None:
    """Receive what happens in `train` and `bench`: see `prefixcap.interfaces.events`.

    Called in the run's own thread, so it has to be quick. If it fails, that is reported once, and
    the plugin gets no more events of the run.
    """


@hookspec
def prefixcap_trackers() -> Iterable[type[TrackerConfig]]:  # type: ignore[empty-body]
    """Return the configs of trackers, which record events if `--tracker` names them.

    Called once per registry. It must not import heavy libraries.
    """
