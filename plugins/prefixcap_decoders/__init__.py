"""Decoders: greedy, beam, sampling."""

from __future__ import annotations

from collections.abc import Iterable

from prefixcap.config import Component
from prefixcap.hookspecs import hookimpl
from prefixcap_decoders.clipcap import ClipCapBeam, ClipCapGenerate2
from prefixcap_decoders.greedy import Greedy

__all__ = ["ClipCapBeam", "ClipCapGenerate2", "Greedy"]


@hookimpl
def prefixcap_components() -> Iterable[type[Component]]:
    """Returns this plugin's config classes."""
    return [ClipCapBeam, ClipCapGenerate2, Greedy]
