"""The gallery: images as thumbnails, the captions of every cell, and the scores of every image."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

from prefixcap.report.content import Gallery, Picture

if TYPE_CHECKING:
    from PIL import Image

    from prefixcap.study.analysis.reader import CaptionedImage, Cell, SavedStudy

SIDE = 288  # pixels: sharp at the 160 that the page gives them, and small
QUALITY = 68
DIGITS = 4


def collect(
    finished: SavedStudy,
    names: Mapping[str, str],
    order: Sequence[str],
    images: int,
    progress: Callable[[int], None],
) -> Gallery:
    """Reads what the gallery shows.

    Args:
        finished: the study.
        names: what the study's cells are called, by cell; baselines last.
        order: cells that are worth comparing, the most interesting first.
        images: at most so many images, the first of the study.
        progress: called with how many images were read.
    """
    cells = [finished.cells[name] for name in names]
    shown = finished.images[:images]
    columns = list(names)
    first, *rest = [columns.index(name) for name in order]
    pictures = []
    for row, image in enumerate(shown):
        pictures.append(_picture(finished, cells, row, image))
        progress(row + 1)
    return Gallery(
        names=list(names.values()),
        baselines=sum(cell.baseline for cell in cells),
        pictures=pictures,
        scores=_scores(cells, len(shown)),
        first=first,
        second=rest[0] if rest else None,
        total=len(finished.images),
    )


def as_json(gallery: Gallery) -> str:
    """Writes what the page's script reads; no text in it can end the script element."""
    texts: dict[str, int] = {}

    def number(text: str) -> int:
        return texts.setdefault(text, len(texts))

    images = [
        {
            "id": picture.id,
            "row": row,
            "references": picture.references,
            "captions": [[number(text) for text in column] for column in picture.captions],
            "picture": picture.source,
            "size": picture.size,
        }
        for row, picture in enumerate(gallery.pictures)
    ]
    data: dict[str, Any] = {
        "cells": gallery.names,
        "scores": gallery.scores,
        "images": images,
        "texts": list(texts),
    }
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def thumbnail(picture: Image.Image) -> tuple[str, tuple[int, int]]:
    """Makes a small picture of one in RGB: a data URI, and its width and height."""
    small = picture.copy()
    small.thumbnail((SIDE, SIDE))
    buffer = BytesIO()
    small.save(buffer, format="WEBP", quality=QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}", small.size


def _picture(
    finished: SavedStudy, cells: Sequence[Cell], row: int, image: CaptionedImage
) -> Picture:
    captions = tuple(
        tuple(caption["text"] for caption in cell.lines[row]["captions"]) for cell in cells
    )
    found = finished.picture(image.id)
    source, size = (None, (0, 0)) if found is None else thumbnail(found)
    return Picture(
        id=image.id, references=image.references, captions=captions, source=source, size=size
    )


def _scores(cells: Sequence[Cell], images: int) -> dict[str, list[list[float | None] | None]]:
    names = dict.fromkeys(name for cell in cells for name in cell.per_image)
    return {
        name: [
            [
                round(value, DIGITS) if math.isfinite(value) else None
                for value in cell.per_image[name][:images]
            ]
            if name in cell.per_image
            else None
            for cell in cells
        ]
        for name in names
    }
