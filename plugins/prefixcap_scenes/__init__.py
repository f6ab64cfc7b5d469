"""The embedded default: a drawn world with captions, and a small CLIP and GPT-2 that know it."""

from __future__ import annotations

from collections.abc import Iterable

from prefixcap.interfaces.component import Component
from prefixcap.plugin.hookspecs import hookimpl
from prefixcap_scenes.configs import Scenes, ScenesClip, ScenesGPT2

__all__ = ["Scenes", "ScenesClip", "ScenesGPT2"]


@hookimpl
def prefixcap_components() -> Iterable[type[Component]]:
    """Returns this plugin's config classes."""
    return [Scenes, ScenesClip, ScenesGPT2]
