"""Caption metrics: those of the COCO evaluation, and those for comparing decoders."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prefixcap.plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from prefixcap.interfaces.component import Component


@hookimpl
def prefixcap_components() -> Iterable[type[Component]]:
    """Return the configs of the metrics."""
    from prefixcap_metrics.configs import METRICS

    return METRICS
