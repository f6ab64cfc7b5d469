"""Figures as SVG: for papers as matplotlib writes them, for the page with colours of its theme."""

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
    **{colour: f"var(--s{number})" for number, colour in enumerate(SERIES, 1)},
}
_COLOUR = re.compile("|".join(VARIABLES), re.IGNORECASE)
_FONT = re.compile(r"font(?:-family)?:[^;]*sans-serif[^;]*;?\s*")


def written(figure: Figure, kind: str) -> bytes:
    """Returns a figure as a file's content.

    Args:
        figure: the figure.
        kind: "svg" or "pdf".
    """
    buffer = BytesIO()
    # no date: the same study gives the same file
    metadata = {"Date": None} if kind == "svg" else {"CreationDate": None}
    figure.savefig(buffer, format=kind, metadata=metadata)
    return buffer.getvalue()


def inline(figure: Figure, name: str, text: str, tips: Mapping[str, str]) -> str:
    """Returns a figure as SVG to stand in the page.

    Args:
        figure: the figure.
        name: begins all its ids, which must be unique in the page.
        text: says what is to be seen, for those who cannot see it.
        tips: what is said when the pointer rests on an artist, by the artist's gid.
    """
    root = ElementTree.fromstring(written(figure, "svg"))
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
            themed = _COLOUR.sub(lambda found: VARIABLES[found[0].lower()], value)
            element.set(key, _font(themed))
        elif "url(#" in value:
            element.set(key, value.replace("url(#", f"url(#{name}-"))


def _font(style: str) -> str:
    size = re.search(r"font:\s*([\d.]+px)", style)
    bare = _FONT.sub("", style)
    return f"font-size: {size[1]}; {bare}" if size else bare
