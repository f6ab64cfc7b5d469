"""Image encoders: OpenAI's CLIP (`clip`) and embeddings from a file (`precomputed`)."""

from __future__ import annotations

from collections.abc import Iterable

from prefixcap.interfaces.component import Component
from prefixcap.plugin.hookspecs import hookimpl
from prefixcap_clip.configs import CLIP, Precomputed

__all__ = ["CLIP", "Precomputed"]


@hookimpl
def prefixcap_components() -> Iterable[type[Component]]:
    """Returns this plugin's config classes."""
    return [CLIP, Precomputed]
