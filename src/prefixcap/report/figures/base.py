"""A figure: panels that are side by side in papers and separate in the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil
from typing import TYPE_CHECKING

import attrs

from prefixcap.report.figures.style import PANEL, RC, short
from prefixcap.report.figures.svg import file_content, inline

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawn

    from prefixcap.report.content import ReportRow

COLUMNS = 3
LEGEND = 30
"""The maximum number of names in a legend, so that it fits the figure."""
SYMBOL, LETTER, LINE = 0.6, 0.078, 0.2  # inches of a legend's symbols, letters and lines


@attrs.define
class Tips:
    """The tooltips of artists, by the artist's gid."""

    texts: dict[str, str] = attrs.field(factory=dict)

    def add(self, text: str) -> str:
        """Add a text and return the gid for its artist."""
        gid = f"tip{len(self.texts)}"
        self.texts[gid] = text
        return gid


@attrs.frozen(kw_only=True)
class Panel:
    """One set of axes: its title, a description for screen readers, and a function that draws."""

    title: str
    text: str
    draw: Callable[[Axes, Tips], None]


@attrs.frozen(kw_only=True)
class Figure:
    """Panels with one caption.

    Attributes:
        name: The name of its files and prefix of its ids.
        caption: An explanation of how to read it.
        size: The size of a panel in inches.
    """

    name: str
    title: str
    caption: str
    panels: Sequence[Panel]
    size: tuple[float, float] = PANEL

    def svgs(self) -> list[str]:
        """Return every panel as SVG for the page."""
        import matplotlib

        with matplotlib.rc_context(dict(RC)):
            svgs = []
            for n, panel in enumerate(self.panels):
                tips = Tips()
                drawn = self._drawn([panel], tips)
                svgs.append(inline(drawn, f"{self.name}{n}", panel.text, tips.texts))
            return svgs

    def file(self, kind: str) -> bytes:
        """Return all panels in one figure, as the content of a file ("svg" or "pdf")."""
        import matplotlib

        with matplotlib.rc_context(dict(RC)):
            return file_content(self._drawn(self.panels, Tips()), kind)

    def _drawn(self, panels: Sequence[Panel], tips: Tips) -> Drawn:
        from matplotlib.figure import Figure as Drawn

        columns = min(COLUMNS, len(panels))
        rows = ceil(len(panels) / columns)
        width, height = self.size
        figure = Drawn(figsize=(width * columns, height * rows), layout="constrained")
        grid = list(figure.subplots(rows, columns, squeeze=False).flat)
        handles: dict[str, Artist] = {}
        for axes, panel in zip(grid, panels, strict=False):
            panel.draw(axes, tips)
            axes.set_title(short(panel.title, 48))
            artists, labels = axes.get_legend_handles_labels()
            handles |= {str(k): artist for k, artist in zip(labels, artists, strict=True)}
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        if 1 < len(handles) <= LEGEND:
            ncols = _legend_columns(list(handles), width * columns)
            more = LINE * (ceil(len(handles) / ncols) - 1)
            figure.set_size_inches(width * columns, height * rows + more)
            artists, names = list(handles.values()), list(handles)
            figure.legend(artists, names, loc="outside lower left", ncols=ncols)
        return figure


def headings(rows: Sequence[ReportRow]) -> list[str]:
    """Return names of rows that tell them apart: what all rows with a model share is left out."""
    models = [row for row in rows if not row.baseline]
    fields = list(dict.fromkeys(name for row in models for name in row.columns))
    varied = [f for f in fields if len({row.columns.get(f, "") for row in models}) > 1]

    def heading(row: ReportRow) -> str:
        if row.baseline or not varied:
            return row.label
        texts = {name: row.columns.get(name, "") for name in varied}
        return " ".join(f"P={text}" if name == "P" else text for name, text in texts.items())

    return [heading(row) for row in rows]


def unnamed(count: int) -> str:
    """Return a note that there is no legend, if there are too many names for one."""
    if count <= LEGEND:
        return ""
    return f" {count:,} names are too many for a legend: hover over a point for its name."


def _legend_columns(names: Sequence[str], width: float) -> int:
    """Return how many columns of a legend fit into a figure, given its width in inches."""
    widest = SYMBOL + LETTER * max(len(name) for name in names)
    return max(1, min(len(names), int(width / widest)))
