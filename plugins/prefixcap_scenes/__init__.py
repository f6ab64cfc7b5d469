"""The default data set: drawn scenes with captions, and a small CLIP and GPT-2 for them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prefixcap.plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from prefixcap.interfaces.component import Component


@hookimpl
def prefixcap_components() -> Iterable[type[Component]]:
    """Return the data set, the encoder and the language model."""
    from prefixcap_scenes.configs import Scenes, ScenesClip, ScenesGPT2

    return [Scenes, ScenesClip, ScenesGPT2]
