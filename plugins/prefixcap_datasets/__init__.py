"""Data sets on disk in many formats, and the commands `data` that check, show and export them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prefixcap.plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    import typer

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


@hookimpl
def prefixcap_commands(app: typer.Typer) -> None:
    """Add `prefixcap data`."""
    from prefixcap_datasets.commands.data import add_data

    add_data(app)
