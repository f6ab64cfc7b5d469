"""Tunings: which parameters of the language model are trained, and what is added to it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prefixcap.plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from prefixcap.interfaces.component import Component


@hookimpl
def prefixcap_components() -> Iterable[type[Component]]:
    """Return the tunings."""
    from prefixcap_tunings.adapter import Adapter
    from prefixcap_tunings.injected import IA3, LoRA
    from prefixcap_tunings.prefix import (
        CrossAttentionTuning,
        DeepPrefixTuning,
        PromptTuning,
    )
    from prefixcap_tunings.selected import BitFit, LayerNorms
    from prefixcap_tunings.whole import Frozen, Full

    within: list[type[Component]] = [LoRA, IA3, Adapter, BitFit, LayerNorms]
    return [Frozen, Full, *within, PromptTuning, DeepPrefixTuning, CrossAttentionTuning]
