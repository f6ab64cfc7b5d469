"""Language models of Hugging Face's transformers: `hf`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prefixcap.plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from prefixcap.interfaces.component import Component


@hookimpl
def prefixcap_components() -> Iterable[type[Component]]:
    """Return the language model."""
    from prefixcap_hf.configs import HF

    return [HF]
