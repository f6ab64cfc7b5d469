"""Mappers (`mlp`, `transformer`, `linear`, `qformer`, `llava`) and tunings (`frozen`, `full`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prefixcap.plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from prefixcap.interfaces.component import Component


@hookimpl
def prefixcap_components() -> Iterable[type[Component]]:
    """Return the mappers and tunings."""
    from prefixcap_mappers.configs import MLP, Linear, Transformer
    from prefixcap_mappers.token_configs import Llava, QFormer
    from prefixcap_mappers.tunings import Frozen, Full

    return [MLP, Transformer, Linear, QFormer, Llava, Frozen, Full]
