"""The gallery: images as thumbnails, the captions of every cell, and the scores of every image."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

from prefixcap.report.content import Gallery
from prefixcap.util.text import truncated, visible_lines

if TYPE_CHECKING:
    from PIL import Image

    from prefixcap.study.analysis.reader import CaptionedImage, SavedCell, SavedStudy

SIDE = 288
"""Pixels of a thumbnail's longer side; the page shows 160, twice as many on a sharp screen."""
QUALITY = 68
DIGITS = 4
LONGEST = 1000
"""Characters of a caption or reference that the page shows."""
SEVERAL = 20
"""Captions per image and cell that the page shows."""


def collect(
    study: SavedStudy,
    names: Mapping[str, str],
    order: Sequence[str],
    images: int,
    progress: Callable[[int], None],
    *,
    pictures: bool = True,
) -> Gallery:
    """Read the captions and scores of cells on the first images.

    `names` has the name of every cell, baselines last; `order` the one or two to show at first.
    Without `pictures`, there are captions only.
    """
    cells = [study.cells[name] for name in names]
    shown = study.images[:images]
    columns = list(names)
    first, *rest = [columns.index(name) for name in order]
    captions = [_captions(cell, images) for cell in cells]
    entries = []
    for index, image in enumerate(shown):
        picture = study.picture(image.id) if pictures else None
        entries.append(_image(picture, [column[index] for column in captions], image))
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


def _captions(cell: SavedCell, images: int) -> list[list[str]]:
    """Return the captions that are shown of the first images."""
    return [
        [truncated(caption["text"], LONGEST) for caption in line["captions"][:SEVERAL]]
        for line in cell.read(images)
    ]


def _image(
    picture: Image.Image | None, captions: Sequence[Sequence[str]], image: CaptionedImage
) -> dict[str, Any]:
    source, size = (None, (0, 0)) if picture is None else thumbnail(picture)
    return {
        "id": image.id,
        "references": [truncated(text, LONGEST) for text in image.references[:SEVERAL]],
        "captions": captions,
        "picture": source,
        "size": size,
    }


def _scores(cells: Sequence[SavedCell], images: int) -> dict[str, list[list[float | None] | None]]:
    columns = []
    for cell in cells:  # of all images, one cell is in memory at a time
        each = cell.read_per_image()
        columns.append({name: [_rounded(v) for v in each[name][:images]] for name in each})
    names = dict.fromkeys(name for column in columns for name in column)
    return {name: [column.get(name) for column in columns] for name in names}


def _rounded(value: float) -> float | None:
    return round(value, DIGITS) if math.isfinite(value) else None  # JSON has no NaN
