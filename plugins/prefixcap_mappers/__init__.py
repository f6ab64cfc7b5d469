"""Mappers (`mlp`, `transformer`, `linear`) and tunings (`frozen`, `full`)."""

from __future__ import annotations

from collections.abc import Iterable

from prefixcap.interfaces.component import Component
from prefixcap.plugin.hookspecs import hookimpl
from prefixcap_mappers.configs import MLP, Linear, Transformer
from prefixcap_mappers.tunings import Frozen, Full

__all__ = ["MLP", "Frozen", "Full", "Linear", "Transformer"]


@hookimpl
def prefixcap_components() -> Iterable[type[Component]]:
    """Returns this plugin's config classes."""
    return [MLP, Transformer, Linear, Frozen, Full]
