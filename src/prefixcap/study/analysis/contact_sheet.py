"""A contact sheet: images with their captions in one picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.dataset import Example
from prefixcap.util import files
from prefixcap.util.images import read_image
from prefixcap.util.text import truncated

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

COLUMNS = 4
IMAGES = 12
TILE = 300
MARGIN = 20
LINE = 19
CELLS = 4
MOST = 240
"""Characters of a caption or reference that are drawn."""


def draw(
    path: Path,
    examples: Sequence[Example],
    captions: Mapping[str, Sequence[Mapping[str, Any]]],
    labels: Mapping[str, str],
) -> bool:
    """Draw the first images with their first reference and the captions of the first cells.

    Examples are in the order of each cell's lines of captions.

    Returns:
        Whether any image could be read; a dataset of features has none.
    """
    from io import BytesIO

    shown = list(captions)[:CELLS]
    tiles = []
    for row, example in enumerate(examples[:IMAGES]):
        picture = None if example.image.open is None else load_picture(example.image.open)
        if picture is not None:
            texts = [(labels[c], captions[c][row]["captions"][0]["text"]) for c in shown]
            tiles.append(_tile(picture, example.references[0], texts))
    if not tiles:
        return False
    buffer = BytesIO()
    _join(tiles).save(buffer, format="PNG", optimize=True)
    files.atomic_write(path, buffer.getvalue())
    return True


def load_picture(opener: Callable[[], Image.Image]) -> Image.Image | None:
    """Open (or draw) a picture as it is encoded; None if it cannot be read."""
    try:
        return read_image(opener, "picture")
    except PrefixcapError:
        return None


def _join(tiles: Sequence[Image.Image]) -> Image.Image:
    from PIL import Image

    columns = min(COLUMNS, len(tiles))
    rows = [tiles[i : i + columns] for i in range(0, len(tiles), columns)]
    heights = [max(tile.height for tile in row) for row in rows]
    width = columns * (TILE + MARGIN) + MARGIN
    sheet = Image.new("RGB", (width, sum(heights) + MARGIN * (len(rows) + 1)), "white")
    top = MARGIN
    for row, height in zip(rows, heights, strict=True):
        for column, tile in enumerate(row):
            sheet.paste(tile, (MARGIN + column * (TILE + MARGIN), top))
        top += height + MARGIN
    return sheet


def _tile(picture: Image.Image, reference: str, captions: Sequence[tuple[str, str]]) -> Image.Image:
    from PIL import Image, ImageDraw, ImageFont, ImageOps

    picture = ImageOps.contain(picture, (TILE, TILE))
    font = ImageFont.load_default(15)
    small = ImageFont.load_default(13)
    scratch = ImageDraw.Draw(picture)
    lines: list[tuple[str, str, Any]] = []
    for label, text in captions:
        if len(captions) > 1:
            lines.append((label, "#3366aa", small))
        wrapped = _wrap(scratch, truncated(text, MOST) or "(empty)", font)
        lines += [(line, "#111111", font) for line in wrapped]
    lines.append(("reference:", "#888888", small))
    wrapped = _wrap(scratch, truncated(reference, MOST), small)
    lines += [(line, "#888888", small) for line in wrapped]
    tile = Image.new("RGB", (TILE, picture.height + 8 + LINE * len(lines)), "white")
    tile.paste(picture, ((TILE - picture.width) // 2, 0))
    pen = ImageDraw.Draw(tile)
    for number, (text, colour, face) in enumerate(lines):
        pen.text((2, picture.height + 6 + LINE * number), text, fill=colour, font=face)
    return tile


def _wrap(
    pen: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and pen.textlength(longer, font=font) > TILE - 4:
            lines.append(word)
        else:
            lines[-1] = longer
        while (width := pen.textlength(lines[-1], font=font)) > TILE - 4:  # one long word
            kept = max(1, int(len(lines[-1]) * (TILE - 4) / width))
            lines[-1:] = [lines[-1][:kept], lines[-1][kept:]]
    return lines
