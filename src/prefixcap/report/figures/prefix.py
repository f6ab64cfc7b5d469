"""Quality against prefix length, a line a decoder, a panel a mapper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from prefixcap.report.content import Cell, Content
from prefixcap.report.figures.base import Figure, Panel, Tips, unnamed
from prefixcap.report.figures.style import MUTED, Looks, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BAND = 0.14
REFERENCE = "nearest training image"


def figure(content: Content, looks: Looks) -> Figure | None:
    """Makes the figure; None where no cell has the score."""
    score = content.measures.quality
    cells = [c for c in content.cells if not c.baseline and score in c.scores]
    if not cells:
        return None
    names = list(dict.fromkeys(cell.panel for cell in cells))
    percent = f"{100 * content.level:.0f} %"
    baselines = [c for c in content.cells if c.baseline and score in c.scores]
    dotted = [c for c in baselines if c.label.startswith(REFERENCE)]
    low, high = _range([*cells, *dotted], score)

    def panel(name: str) -> Panel:
        here = [cell for cell in cells if cell.panel == name]

        def draw(axes: Axes, tips: Tips) -> None:
            _lines(axes, tips, here, score, looks)
            for cell in dotted:
                _reference(axes, cell, score)
            axes.set_ylim(low, high)

        return Panel(title=name, text=_said(name, here, score), draw=draw)

    return Figure(
        name="prefix-length",
        title=f"{score} against prefix length",
        caption=f"A line a decoder; bands and bars are {percent} confidence intervals."
        + (f" Dotted: {dotted[0].label}, which needs no model." if dotted else "")
        + unnamed(len({short(cell.decoder) for cell in cells})),
        panels=[panel(name) for name in names],
    )


def _lines(axes: Axes, tips: Tips, cells: Sequence[Cell], score: str, looks: Looks) -> None:
    lengths = sorted({cell.prefix_length or 0 for cell in cells})
    places = {length: place for place, length in enumerate(lengths)}
    decoders = list(dict.fromkeys(cell.decoder for cell in cells))
    for number, decoder in enumerate(decoders):
        here = [cell for cell in cells if cell.decoder == decoder]
        here.sort(key=lambda cell: cell.prefix_length or 0)
        # where lines have nothing to connect, the intervals stand side by side
        shift = 0.0 if len(lengths) > 1 else (number + 0.5) / len(decoders) - 0.5
        xs = [places[cell.prefix_length or 0] + 0.8 * shift for cell in here]
        _line(axes, tips, xs, here, score, decoder, looks)
    axes.set_xticks(range(len(lengths)), [str(length) for length in lengths])
    axes.set_xlim(-0.35, len(lengths) - 0.65)
    axes.set_xlabel("prefix length P")
    axes.set_ylabel(score)
    axes.grid(visible=False, axis="x")


def _line(
    axes: Axes,
    tips: Tips,
    xs: Sequence[float],
    cells: Sequence[Cell],
    score: str,
    decoder: str,
    looks: Looks,
) -> None:
    found = [cell.scores[score] for cell in cells]
    ys = [each.value for each in found]
    lows = [each.value if each.low is None else each.low for each in found]
    highs = [each.value if each.high is None else each.high for each in found]
    colour = looks.colour(decoder)
    style = {"color": colour, "linestyle": looks.dash(decoder), "marker": looks.marker(decoder)}
    axes.plot(xs, ys, label=short(decoder), **style)
    if len(xs) > 1:
        axes.fill_between(xs, lows, highs, color=colour, alpha=BAND, linewidth=0)
    else:
        axes.vlines(xs, lows, highs, color=colour, linewidth=1.2)
    for x, y, cell in zip(xs, ys, cells, strict=True):
        gid = tips.add(f"{cell.label}: {said(cell, score)}")
        axes.plot([x], [y], color=colour, marker="o", markersize=11, alpha=0, gid=gid)


def _reference(axes: Axes, cell: Cell, score: str) -> None:
    axes.axhline(cell.scores[score].value, color=MUTED, linewidth=1, linestyle=(0, (1, 2)))


def _range(cells: Sequence[Cell], score: str) -> tuple[float, float]:
    """Returns limits that hold all intervals, so that the panels can be compared."""
    found = [cell.scores[score] for cell in cells]
    lows = [each.value if each.low is None else each.low for each in found]
    highs = [each.value if each.high is None else each.high for each in found]
    margin = 0.06 * (max(highs) - min(lows)) or 0.01
    return min(lows) - margin, max(highs) + margin


def _said(name: str, cells: Sequence[Cell], score: str) -> str:
    top = max(cells, key=lambda cell: cell.scores[score].value)
    return (
        f"{score} against prefix length for {name}: the highest of {len(cells)} cells is "
        f"{top.label} with {said(top, score)}; all values stand in the table."
    )


def said(cell: Cell, score: str) -> str:
    """Writes a score with its interval."""
    found = cell.scores[score]
    interval = "" if found.low is None else f" [{found.low:.3f}, {found.high:.3f}]"
    return f"{found.value:.3f}{interval}"
