"""Language models of Hugging Face's transformers: `hf`."""

from __future__ import annotations

from collections.abc import Iterable

from prefixcap.interfaces.component import Component
from prefixcap.plugin.hookspecs import hookimpl
from prefixcap_hf.configs import HF

__all__ = ["HF"]


@hookimpl
def prefixcap_components() -> Iterable[type[Component]]:
    """Returns this plugin's config classes."""
    return [HF]
