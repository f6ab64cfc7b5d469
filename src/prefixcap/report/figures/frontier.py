"""Quality, diversity and speed, and the Pareto frontier between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from prefixcap.report.content import SPEED, Content, ReportRow
from prefixcap.report.figures.base import Figure, Panel, Tips, headings, unnamed
from prefixcap.report.figures.style import INK, MUTED, PAPER, Looks, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDE = 12  # ratio of speeds from which their axis is logarithmic
LONGEST = 60
"""Letters of a panel's name in the legend, where the settings of a bridge or tuning differ."""
LETTER, HEIGHT = 0.018, 0.07  # size of a letter, as a fraction of the axes


@attrs.frozen
class Measure:
    """One axis: its name, the value of each row, and -1 as its sign if lower is better."""

    name: str
    values: dict[str, float]
    log: bool = False
    sign: int = 1


def figure(content: Content, looks: Looks) -> Figure | None:
    """Build the figure; None if fewer than two measures are known."""
    rows = [row for row in content.rows if not row.baseline]
    measures = _measures(content, rows)
    rows = [row for row in rows if all(row.id in m.values for m in measures)]
    if len(measures) < 2 or len(rows) < 2:
        return None
    quality, *others = measures
    best = {row.id for row in frontier(rows, measures)}
    pairs = [(other, quality) for other in others]
    if len(others) > 1:
        pairs.append((others[1], others[0]))

    def panel(x: Measure, y: Measure) -> Panel:
        return Panel(
            title=f"{y.name} against {x.name}",
            text=_description(rows, x, y),
            draw=lambda axes, tips: _draw(axes, tips, rows, x, y, best, looks),
        )

    names = ", ".join(m.name for m in measures[:-1]) + f" and {measures[-1].name}"
    panels = {short(row.panel, LONGEST) for row in rows}
    named = {short(row.decoder) for row in rows} | (panels if len(panels) > 1 else set())
    return Figure(
        name="frontier",
        title="The frontier of " + ("quality, diversity and speed" if others[1:] else names),
        caption="One point per row; up and to the right is better. Filled: no other row is at "
        f"least as good in {names} and better in one. The line is the frontier of the two measures "
        "of a panel. Speeds were measured while the study ran, next to whatever else the machine "
        "was doing." + unnamed(len(named)),
        panels=[panel(x, y) for x, y in pairs],
    )


def frontier(rows: Sequence[ReportRow], measures: Sequence[Measure]) -> list[ReportRow]:
    """Return the rows on the Pareto frontier of some measures."""
    points = np.array([[m.sign * m.values[row.id] for m in measures] for row in rows])

    def beaten(point: NDArray[np.float64]) -> bool:
        return bool(np.any(np.all(points >= point, axis=1) & np.any(points > point, axis=1)))

    return [row for row, point in zip(rows, points, strict=True) if not beaten(point)]


def _measures(content: Content, rows: Sequence[ReportRow]) -> list[Measure]:
    measures = []
    # a score of which no direction is better has no frontier
    quality = content.quality if content.scale.better else None
    for score, sign in ((quality, content.scale.sign), (content.diversity, 1)):
        values = {row.id: row.scores[score].value for row in rows if score and score in row.scores}
        if score and values:
            measures.append(Measure(score, values, sign=sign))
    speeds = {row.id: row.facts[SPEED] for row in rows if row.facts.get(SPEED)}
    if speeds:
        wide = max(speeds.values()) > WIDE * min(speeds.values())
        measures.append(Measure(SPEED, speeds, log=wide))
    return measures


def _draw(
    axes: Axes,
    tips: Tips,
    rows: Sequence[ReportRow],
    x: Measure,
    y: Measure,
    best: set[str],
    looks: Looks,
) -> None:
    for row in rows:
        color = looks.color(row.decoder)
        axes.plot(
            [x.values[row.id]],
            [y.values[row.id]],
            linestyle="",
            marker=looks.shape(row.panel, row.decoder),
            markersize=6,
            markeredgecolor=color,
            markeredgewidth=1.3,
            markerfacecolor=color if row.id in best else PAPER,
            gid=tips.add(f"{row.label}: {_at(row, x)}, {_at(row, y)}"),
        )
    edge = sorted(frontier(rows, (x, y)), key=lambda row: x.values[row.id])
    xs, ys = [x.values[row.id] for row in edge], [y.values[row.id] for row in edge]
    axes.plot(xs, ys, color=MUTED, linewidth=1, linestyle=(0, (3, 2)), zorder=1.5)
    if x.log:
        axes.set_xscale("log")
        # powers of ten would be mathematical text, which svg.fonttype "none" shows as source
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel(x.name)
    axes.set_ylabel(y.name)
    axes.margins(0.14)
    if x.sign < 0:
        axes.invert_xaxis()
    if y.sign < 0:
        axes.invert_yaxis()
    names = dict(zip((row.id for row in rows), headings(rows), strict=True))
    _name_edge(axes, edge, [names[row.id] for row in edge], x, y)
    _name_looks(axes, rows, looks)


def _name_edge(
    axes: Axes, edge: Sequence[ReportRow], names: Sequence[str], x: Measure, y: Measure
) -> None:
    """Write names beside the points of the frontier if there is room."""
    axes.autoscale_view()  # otherwise the limits follow when the figure is drawn
    taken: list[tuple[float, float, float]] = []
    for row, heading in zip(edge, names, strict=True):
        at = (x.values[row.id], y.values[row.id])
        left, low = axes.transAxes.inverted().transform(axes.transData.transform(at))
        name = short(heading)
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


def _name_looks(axes: Axes, rows: Sequence[ReportRow], looks: Looks) -> None:
    """Fill the legend: colors are decoders, markers are panels if there are several.

    If decoders outnumber the colors, those of one color have different markers too.
    """
    panels = list(dict.fromkeys(row.panel for row in rows))
    style: dict[str, Any] = {"linestyle": "", "markersize": 6}
    for decoder in dict.fromkeys(row.decoder for row in rows):
        color, marker = looks.color(decoder), looks.shape(panels[0], decoder)
        axes.plot([], [], marker=marker, color=color, label=short(decoder), **style)
    style |= {"markerfacecolor": PAPER, "markeredgecolor": MUTED}
    for name in panels if len(panels) > 1 else ():
        axes.plot([], [], marker=looks.shape(name), label=short(name, LONGEST), **style)


def _at(row: ReportRow, measure: Measure) -> str:
    return f"{measure.name} {measure.values[row.id]:.4g}"


def _description(rows: Sequence[ReportRow], x: Measure, y: Measure) -> str:
    edge = frontier(rows, (x, y))
    names = "; ".join(f"{row.label} ({_at(row, x)}, {_at(row, y)})" for row in edge[:8])
    more = f" and {len(edge) - 8} more" if len(edge) > 8 else ""
    return f"{y.name} against {x.name} of {len(rows)} rows; on the frontier: {names}{more}."
