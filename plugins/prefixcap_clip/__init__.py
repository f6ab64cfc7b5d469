"""Image encoders: OpenAI's CLIP (`clip`) and precomputed embeddings (`precomputed`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prefixcap.plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from prefixcap.interfaces.component import Component


@hookimpl
def prefixcap_components() -> Iterable[type[Component]]:
    """Return the encoders."""
    from prefixcap_clip.configs import CLIP, Precomputed

    return [CLIP, Precomputed]
