"""Data sets on disk: COCO's files, and folders with captions and images or embeddings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prefixcap.plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from prefixcap.interfaces.component import Component


@hookimpl
def prefixcap_components() -> Iterable[type[Component]]:
    """Return the configs of the data sets."""
    from prefixcap_datasets.configs import (
        ClipCapPickles,
        Coco,
        Csv,
        Flickr,
        Images,
        Jsonl,
        Karpathy,
        Tsv,
        WebDataset,
    )

    return [ClipCapPickles, Coco, Csv, Flickr, Images, Jsonl, Karpathy, Tsv, WebDataset]
