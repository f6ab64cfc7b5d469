"""Figures as files for papers, and as SVG in the colors of the page's theme."""

from __future__ import annotations

import re
from collections.abc import Mapping
from io import BytesIO
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from prefixcap.report.figures.style import INK, MUTED, PAPER, RULE, SERIES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SVG = "{http://www.w3.org/2000/svg}"
LINK = "{http://www.w3.org/1999/xlink}href"
VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    RULE: "var(--rule)",
    PAPER: "var(--paper)",
    **{color: f"var(--s{number})" for number, color in enumerate(SERIES, 1)},
}
_COLOR = re.compile("|".join(VARIABLES), re.IGNORECASE)
_FONT = re.compile(r"font(?:-family)?:[^;]*sans-serif[^;]*;?\s*")


def file_content(figure: Figure, kind: str) -> bytes:
    """Return a figure as the content of a file, "svg" or "pdf"."""
    buffer = BytesIO()
    # without a date the same study gives the same file
    metadata = {"Date": None} if kind == "svg" else {"CreationDate": None}
    figure.savefig(buffer, format=kind, metadata=metadata)
    return buffer.getvalue()


def inline(figure: Figure, name: str, text: str, tips: Mapping[str, str]) -> str:
    """Return a figure as SVG for the page.

    Args:
        figure: The figure.
        name: The prefix of its ids, which must be unique in the page.
        text: A description for screen readers.
        tips: The tooltips of artists, by the artist's gid.
    """
    root = ElementTree.fromstring(file_content(figure, "svg"))
    for metadata in root.findall(f"{SVG}metadata"):
        root.remove(metadata)
    for style in root.findall(f"{SVG}defs/{SVG}style"):
        style.text = None
    for element in root.iter():
        _adapt(element, name)
        tip = tips.get(element.get("id", "").removeprefix(f"{name}-"))
        if tip is not None:
            title = ElementTree.Element(f"{SVG}title")
            title.text = tip
            element.insert(0, title)
    for size in ("width", "height"):
        root.attrib.pop(size, None)
    root.set("role", "img")
    root.set("aria-label", text)
    ElementTree.register_namespace("", SVG.strip("{}"))
    ElementTree.register_namespace("xlink", LINK.partition("}")[0].strip("{"))
    return ElementTree.tostring(root, encoding="unicode")


def _adapt(element: ElementTree.Element, name: str) -> None:
    for key, value in list(element.attrib.items()):
        if key == "id":
            element.set(key, f"{name}-{value}")
        elif key == LINK:
            element.set(key, value.replace("#", f"#{name}-", 1))
        elif key == "style":
            themed = _COLOR.sub(lambda match: VARIABLES[match[0].lower()], value)
            element.set(key, _font(themed))
        elif "url(#" in value:
            element.set(key, value.replace("url(#", f"url(#{name}-"))


def _font(style: str) -> str:
    size = re.search(r"font:\s*([\d.]+px)", style)
    bare = _FONT.sub("", style)
    return f"font-size: {size[1]}; {bare}" if size else bare
