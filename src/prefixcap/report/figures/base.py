"""A figure: panels that are drawn side by side for papers, and one by one in the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil
from typing import TYPE_CHECKING

import attrs

from prefixcap.report.figures.style import PANEL, RC, short
from prefixcap.report.figures.svg import inline, written

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawn

COLUMNS = 3
LEGEND = 30  # names: a legend of more would be longer than the figure
SYMBOL, LETTER, LINE = 0.6, 0.078, 0.2  # inches: of a legend's entry, its letters, its lines


@attrs.define
class Tips:
    """What is said when the pointer rests on an artist, by the artist's gid."""

    texts: dict[str, str] = attrs.field(factory=dict)

    def add(self, text: str) -> str:
        """Keeps a text and returns the gid for its artist."""
        gid = f"tip{len(self.texts)}"
        self.texts[gid] = text
        return gid


@attrs.frozen(kw_only=True)
class Panel:
    """One set of axes.

    Attributes:
        title: above it; "" where the figure has one panel.
        text: says what is to be seen, for those who cannot see it.
        draw: draws into axes and keeps what is said of single artists.
    """

    title: str
    text: str
    draw: Callable[[Axes, Tips], None]


@attrs.frozen(kw_only=True)
class Figure:
    """Panels with one caption.

    Attributes:
        name: of its files, and where its ids begin.
        title: its heading in the page.
        caption: what is shown and how to read it.
        panels: what is drawn.
        size: of a panel, in inches.
    """

    name: str
    title: str
    caption: str
    panels: Sequence[Panel]
    size: tuple[float, float] = PANEL

    def svgs(self) -> list[str]:
        """Returns every panel as SVG to stand in the page."""
        import matplotlib

        with matplotlib.rc_context(dict(RC)):
            return [self._svg(panel, f"{self.name}{n}") for n, panel in enumerate(self.panels)]

    def file(self, kind: str) -> bytes:
        """Returns all panels in one figure, as the content of a file ("svg" or "pdf")."""
        import matplotlib

        with matplotlib.rc_context(dict(RC)):
            return written(self._drawn(self.panels, Tips()), kind)

    def _svg(self, panel: Panel, name: str) -> str:
        tips = Tips()
        drawn = self._drawn([panel], tips)
        return inline(drawn, name, panel.text, tips.texts)

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
            found, labels = axes.get_legend_handles_labels()
            handles |= {str(k): artist for k, artist in zip(labels, found, strict=True)}
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        if 1 < len(handles) <= LEGEND:
            ncols = _legend_columns(list(handles), width * columns)
            more = LINE * (ceil(len(handles) / ncols) - 1)
            figure.set_size_inches(width * columns, height * rows + more)
            figure.legend(
                list(handles.values()),
                list(handles),
                loc="outside lower left",
                ncols=ncols,
            )
        return figure


def unnamed(count: int) -> str:
    """Says that there is no legend, where there are too many names for one."""
    if count <= LEGEND:
        return ""
    return f" {count:,} names are too many for a legend: resting the pointer on a point names it."


def _legend_columns(names: Sequence[str], width: float) -> int:
    """Returns how many columns of a legend fit a figure of some inches."""
    widest = SYMBOL + LETTER * max(len(name) for name in names)
    return max(1, min(len(names), int(width / widest)))
