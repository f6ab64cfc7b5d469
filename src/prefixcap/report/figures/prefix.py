"""Quality against prefix length: one line per decoder, one panel per mapper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from prefixcap.report.content import Content, ReportRow
from prefixcap.report.figures.base import Figure, Panel, Tips, unnamed
from prefixcap.report.figures.style import MUTED, Looks, short
from prefixcap.report.numbers import interval, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BAND = 0.14
REFERENCE = "nearest training image"
DOTTED = (0, (1, 2))


def figure(content: Content, looks: Looks) -> Figure | None:
    """Build the figure; None unless rows of two prefix lengths have the score."""
    score, rows = content.quality, content.grid
    if len({row.prefix_length for row in rows}) < 2:
        return None
    names = list(dict.fromkeys(row.panel for row in rows))
    percent = f"{100 * content.level:.0f} %"
    dotted = [row for row in content.baselines if row.label.startswith(REFERENCE)]
    low, high = _range([*rows, *dotted], score)

    def panel(name: str) -> Panel:
        here = [row for row in rows if row.panel == name]

        def draw(axes: Axes, tips: Tips) -> None:
            _lines(axes, tips, here, score, looks)
            for row in dotted:
                axes.axhline(row.scores[score].value, color=MUTED, linewidth=1, linestyle=DOTTED)
            axes.set_ylim(low, high)

        return Panel(title=name, text=_description(name, here, score), draw=draw)

    return Figure(
        name="prefix-length",
        title=f"{score} against prefix length",
        caption=f"One line per decoder; bands and bars are {percent} confidence intervals."
        + (f" Dotted: {dotted[0].label}, which needs no model." if dotted else "")
        + unnamed(len({short(row.decoder) for row in rows})),
        panels=[panel(name) for name in names],
    )


def _lines(axes: Axes, tips: Tips, rows: Sequence[ReportRow], score: str, looks: Looks) -> None:
    lengths = sorted({row.prefix_length or 0 for row in rows})
    places = {length: place for place, length in enumerate(lengths)}
    decoders = list(dict.fromkeys(row.decoder for row in rows))
    for decoder in decoders:
        here = [row for row in rows if row.decoder == decoder]
        here.sort(key=lambda row: row.prefix_length or 0)
        xs = [places[row.prefix_length or 0] for row in here]
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
    rows: Sequence[ReportRow],
    score: str,
    decoder: str,
    looks: Looks,
) -> None:
    ys = [row.scores[score].value for row in rows]
    lows, highs = zip(*(row.scores[score].bounds for row in rows), strict=True)
    color = looks.color(decoder)
    style = {"color": color, "linestyle": looks.dash(decoder), "marker": looks.marker(decoder)}
    axes.plot(xs, ys, label=short(decoder), **style)
    if len(xs) > 1:
        axes.fill_between(xs, lows, highs, color=color, alpha=BAND, linewidth=0)
    else:
        axes.vlines(xs, lows, highs, color=color, linewidth=1.2)
    for x, y, row in zip(xs, ys, rows, strict=True):
        gid = tips.add(f"{row.label}: {score_text(row, score)}")
        axes.plot([x], [y], color=color, marker="o", markersize=11, alpha=0, gid=gid)


def _range(rows: Sequence[ReportRow], score: str) -> tuple[float, float]:
    """Return limits that contain all intervals, so that panels can be compared."""
    lows, highs = zip(*(row.scores[score].bounds for row in rows), strict=True)
    margin = 0.06 * (max(highs) - min(lows)) or 0.01
    return min(lows) - margin, max(highs) + margin


def _description(name: str, rows: Sequence[ReportRow], score: str) -> str:
    top = max(rows, key=lambda row: row.scores[score].value)
    return (
        f"{score} against prefix length for {name}: the highest of {len(rows)} rows is "
        f"{top.label} with {score_text(top, score)}; the table has all values."
    )


def score_text(row: ReportRow, score: str) -> str:
    """Format a score with its interval."""
    estimate = row.scores[score]
    return f"{number(estimate.value)} {interval(estimate)}".strip()
