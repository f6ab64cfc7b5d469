"""Mappers (`mlp`, `transformer`, ...) and bridges (`noise`, `shift`, ...)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prefixcap.plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from prefixcap.interfaces.component import Component


@hookimpl
def prefixcap_components() -> Iterable[type[Component]]:
    """Return the mappers and bridges."""
    from prefixcap_mappers.begin_config import Begin
    from prefixcap_mappers.bridge_configs import (
        CloseBridge,
        MemoryBridge,
        NoBridge,
        NoiseBridge,
        ShiftBridge,
    )
    from prefixcap_mappers.configs import MLP, Linear, Transformer
    from prefixcap_mappers.deep import Deep
    from prefixcap_mappers.token_configs import Llava, QFormer

    mappers: list[type[Component]] = [MLP, Transformer, Linear, QFormer, Llava, Deep]
    bridges: list[type[Component]] = [NoBridge, NoiseBridge, ShiftBridge, CloseBridge, MemoryBridge]
    return [*mappers, Begin, *bridges]
