"""Quality, diversity and speed: which cells nothing else beats in all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs

from prefixcap.report.content import Cell, Content
from prefixcap.report.figures.base import Figure, Panel, Tips, unnamed
from prefixcap.report.figures.style import INK, MUTED, PAPER, Looks, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDE = 12  # times: from where an axis of speed is logarithmic
LETTER, HEIGHT = 0.018, 0.07  # of the axes: what a name takes


@attrs.frozen
class Measure:
    """One axis: its name, and a value a cell."""

    name: str
    values: dict[str, float]
    log: bool = False


def figure(content: Content, looks: Looks) -> Figure | None:
    """Makes the figure; None where fewer than two measures are known."""
    cells = [cell for cell in content.cells if not cell.baseline]
    measures = _measures(content, cells)
    cells = [cell for cell in cells if all(cell.id in m.values for m in measures)]
    if len(measures) < 2 or len(cells) < 2:
        return None
    quality, *others = measures
    best = {cell.id for cell in frontier(cells, measures)}
    pairs = [(other, quality) for other in others]
    if len(others) > 1:
        pairs.append((others[1], others[0]))

    def panel(x: Measure, y: Measure) -> Panel:
        return Panel(
            title=f"{y.name} against {x.name}",
            text=_said(cells, x, y),
            draw=lambda axes, tips: _draw(axes, tips, cells, x, y, best, looks),
        )

    names = ", ".join(m.name for m in measures[:-1]) + f" and {measures[-1].name}"
    panels = {short(cell.panel) for cell in cells}
    named = {short(cell.decoder) for cell in cells} | (panels if len(panels) > 1 else set())
    return Figure(
        name="frontier",
        title="The frontier of " + ("quality, diversity and speed" if others[1:] else names),
        caption=f"A point a cell; up and to the right is better. Filled: no other cell is at least "
        f"as good in {names} and better in one. The line is the frontier of the two measures that "
        "a panel shows. Speeds are as measured while the study ran, on whatever else the machine "
        "did then." + unnamed(len(named)),
        panels=[panel(x, y) for x, y in pairs],
    )


def frontier(cells: Sequence[Cell], measures: Sequence[Measure]) -> list[Cell]:
    """Returns the cells that no other is at least as good as in all measures and better in one."""

    def point(cell: Cell) -> list[float]:
        return [measure.values[cell.id] for measure in measures]

    def beats(one: list[float], other: list[float]) -> bool:
        return one != other and all(a >= b for a, b in zip(one, other, strict=True))

    points = [point(cell) for cell in cells]
    return [
        cell
        for cell, mine in zip(cells, points, strict=True)
        if not any(beats(other, mine) for other in points)
    ]


def _measures(content: Content, cells: Sequence[Cell]) -> list[Measure]:
    wanted = content.measures
    found = []
    # where more is not better there is nothing to be ahead in
    for score in (wanted.quality if wanted.more_is_better else None, wanted.diversity):
        values = {c.id: c.scores[score].value for c in cells if score and score in c.scores}
        if score and values:
            found.append(Measure(score, values))
    speeds = {c.id: c.facts[wanted.speed] for c in cells if c.facts.get(wanted.speed)}
    if speeds:
        wide = max(speeds.values()) > WIDE * min(speeds.values())
        found.append(Measure(wanted.speed, speeds, log=wide))
    return found


def _draw(
    axes: Axes,
    tips: Tips,
    cells: Sequence[Cell],
    x: Measure,
    y: Measure,
    best: set[str],
    looks: Looks,
) -> None:
    for cell in cells:
        colour = looks.colour(cell.decoder)
        axes.plot(
            [x.values[cell.id]],
            [y.values[cell.id]],
            linestyle="",
            marker=looks.shape(cell.panel, cell.decoder),
            markersize=6,
            markeredgecolor=colour,
            markeredgewidth=1.3,
            markerfacecolor=colour if cell.id in best else PAPER,
            gid=tips.add(f"{cell.label}: {_at(cell, x)}, {_at(cell, y)}"),
        )
    edge = sorted(frontier(cells, (x, y)), key=lambda cell: x.values[cell.id])
    xs, ys = [x.values[c.id] for c in edge], [y.values[c.id] for c in edge]
    axes.plot(xs, ys, color=MUTED, linewidth=1, linestyle=(0, (3, 2)), zorder=1.5)
    if x.log:
        axes.set_xscale("log")
        # powers of ten are mathematical text, which a page whose texts stay texts shows as source
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel(x.name)
    axes.set_ylabel(y.name)
    axes.margins(0.14)
    _name_edge(axes, edge, x, y)
    _name_looks(axes, cells, looks)


def _name_edge(axes: Axes, edge: Sequence[Cell], x: Measure, y: Measure) -> None:
    """Writes names beside the points of the frontier, where there is room for them."""
    axes.autoscale_view()  # otherwise the limits follow when the figure is drawn
    taken: list[tuple[float, float, float]] = []
    for cell in edge:
        at = (x.values[cell.id], y.values[cell.id])
        left, low = axes.transAxes.inverted().transform(axes.transData.transform(at))
        name = short(cell.label)
        width = LETTER * len(name)
        side = "right" if left + width > 1 else "left"
        start = left - width if side == "right" else left
        near = [s < start + width and start < e for s, e, h in taken if abs(low - h) < HEIGHT]
        if start < 0 or any(near):
            continue
        taken.append((start, start + width, low))
        offset = (-5 if side == "right" else 5, 5)
        style: dict[str, Any] = {"textcoords": "offset points", "fontsize": 8, "color": INK}
        axes.annotate(name, at, xytext=offset, ha=side, **style)


def _name_looks(axes: Axes, cells: Sequence[Cell], looks: Looks) -> None:
    """Fills the legend: colours are decoders, markers are panels where there are several.

    Where decoders outnumber the colours, a marker tells apart those of one colour too.
    """
    panels = list(dict.fromkeys(cell.panel for cell in cells))
    for decoder in dict.fromkeys(cell.decoder for cell in cells):
        colour, marker = looks.colour(decoder), looks.shape(panels[0], decoder)
        axes.plot(
            [], [], linestyle="", marker=marker, markersize=6, color=colour, label=short(decoder)
        )
    for name in panels if len(panels) > 1 else ():
        style: dict[str, Any] = {
            "markerfacecolor": PAPER,
            "markeredgecolor": MUTED,
            "markersize": 6,
        }
        axes.plot([], [], linestyle="", marker=looks.shape(name), label=short(name), **style)


def _at(cell: Cell, measure: Measure) -> str:
    return f"{measure.name} {measure.values[cell.id]:.4g}"


def _said(cells: Sequence[Cell], x: Measure, y: Measure) -> str:
    edge = frontier(cells, (x, y))
    names = "; ".join(f"{c.label} ({_at(c, x)}, {_at(c, y)})" for c in edge[:8])
    more = f" and {len(edge) - 8} more" if len(edge) > 8 else ""
    return f"{y.name} against {x.name} of {len(cells)} cells; on the frontier: {names}{more}."
