"""The gallery: images as thumbnails, the captions of every cell, and the scores of every image."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

from prefixcap.report.content import Gallery
from prefixcap.util.text import visible_lines

if TYPE_CHECKING:
    from PIL import Image

    from prefixcap.study.analysis.reader import CaptionedImage, SavedCell, SavedStudy

SIDE = 288
"""Pixels of a thumbnail's longer side; the page shows 160, twice as many on a sharp screen."""
QUALITY = 68
DIGITS = 4


def collect(
    study: SavedStudy,
    names: Mapping[str, str],
    order: Sequence[str],
    images: int,
    progress: Callable[[int], None],
) -> Gallery:
    """Read the captions and scores of cells on the first images.

    `names` has the name of every cell, baselines last; `order` the one or two to show at first.
    """
    cells = [study.cells[name] for name in names]
    shown = study.images[:images]
    columns = list(names)
    first, *rest = [columns.index(name) for name in order]
    entries = []
    for index, image in enumerate(shown):
        entries.append(_image(study, cells, index, image))
        progress(index + 1)
    return Gallery(
        names=list(names.values()),
        baselines=sum(cell.baseline for cell in cells),
        images=entries,
        scores=_scores(cells, len(shown)),
        first=first,
        second=rest[0] if rest else None,
        total=len(study.images),
    )


def as_json(gallery: Gallery) -> str:
    """Return the data of the page's script.

    No text in it can end the script element, or has control characters that are not visible.
    """
    texts: dict[str, int] = {}  # captions repeat, so each text is stored once

    def index(text: str) -> int:
        return texts.setdefault(visible_lines(text), len(texts))

    images = [
        {
            **image,
            "id": visible_lines(image["id"]),
            "references": [*map(visible_lines, image["references"])],
            "row": row,
            "captions": [[*map(index, column)] for column in image["captions"]],
        }
        for row, image in enumerate(gallery.images)
    ]
    scores, names = gallery.scores, [*map(visible_lines, gallery.names)]
    data = {"cells": names, "scores": scores, "images": images, "texts": list(texts)}
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def thumbnail(picture: Image.Image) -> tuple[str, tuple[int, int]]:
    """Return a small copy of an RGB picture as a data URI, with its width and height."""
    small = picture.copy()
    small.thumbnail((SIDE, SIDE))
    buffer = BytesIO()
    small.save(buffer, format="WEBP", quality=QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}", small.size


def _image(
    study: SavedStudy, cells: Sequence[SavedCell], index: int, image: CaptionedImage
) -> dict[str, Any]:
    picture = study.picture(image.id)
    source, size = (None, (0, 0)) if picture is None else thumbnail(picture)
    return {
        "id": image.id,
        "references": image.references,
        "captions": [
            [caption["text"] for caption in cell.lines[index]["captions"]] for cell in cells
        ],
        "picture": source,
        "size": size,
    }


def _scores(cells: Sequence[SavedCell], images: int) -> dict[str, list[list[float | None] | None]]:
    names = dict.fromkeys(name for cell in cells for name in cell.per_image)
    return {
        name: [
            [
                round(value, DIGITS) if math.isfinite(value) else None  # JSON has no NaN
                for value in cell.per_image[name][:images]
            ]
            if name in cell.per_image
            else None
            for cell in cells
        ]
        for name in names
    }
