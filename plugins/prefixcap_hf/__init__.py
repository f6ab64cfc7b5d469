"""Models of Hugging Face's transformers: the language model `hf` and the encoder `hf-vision`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prefixcap.plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from prefixcap.interfaces.component import Component


@hookimpl
def prefixcap_components() -> Iterable[type[Component]]:
    """Return the language model and the encoder."""
    from prefixcap_hf.configs import HF
    from prefixcap_hf.vision_config import HFVision

    return [HF, HFVision]
