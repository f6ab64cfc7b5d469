"""Image encoders of two libraries of models: `open-clip` and `timm`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prefixcap.plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from prefixcap.interfaces.component import Component


@hookimpl
def prefixcap_components() -> Iterable[type[Component]]:
    """Return the encoders."""
    from prefixcap_vision.configs import OpenCLIP, Timm

    return [OpenCLIP, Timm]
