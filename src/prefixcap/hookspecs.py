"""The one hook of the plugin host, and the markers that a plugin author needs."""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from prefixcap.config import Component

PROJECT = "prefixcap"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def prefixcap_components() -> Iterable[type[Component]]:  # type: ignore[empty-body]
    """Returns the config classes that a plugin offers.

    The base class of each says its kind. The hook takes nothing and imports nothing heavy.
    """
