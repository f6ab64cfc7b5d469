"""Caption metrics: those of the COCO evaluation, and those for comparing decoders."""

from __future__ import annotations

from collections.abc import Iterable

from prefixcap.interfaces.component import Component
from prefixcap.plugin.hookspecs import hookimpl
from prefixcap_metrics import configs


@hookimpl
def prefixcap_components() -> Iterable[type[Component]]:
    """Return the configs of the metrics."""
    return configs.METRICS
