"""Decoders: greedy, beam, sampling."""

from __future__ import annotations

from collections.abc import Iterable

from prefixcap.config import Component
from prefixcap.hookspecs import hookimpl
from prefixcap_decoders.greedy import Greedy

__all__ = ["Greedy"]


@hookimpl
def prefixcap_components() -> Iterable[type[Component]]:
    """Returns this plugin's config classes."""
    return [Greedy]
