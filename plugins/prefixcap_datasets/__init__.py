"""Data sets on disk: COCO's own files, and folders of captions with images or embeddings."""

from __future__ import annotations

from collections.abc import Iterable

from prefixcap.interfaces.component import Component
from prefixcap.plugin.hookspecs import hookimpl
from prefixcap_datasets.configs import Coco, Jsonl


@hookimpl
def prefixcap_components() -> Iterable[type[Component]]:
    """Return the configs of the data sets."""
    return [Coco, Jsonl]
