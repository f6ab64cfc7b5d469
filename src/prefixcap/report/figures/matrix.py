"""The matrix of paired differences for papers; the page has it as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from prefixcap.evaluation.stats import Difference
from prefixcap.report.content import Content, ReportRow
from prefixcap.report.figures.base import Figure, Panel, headings
from prefixcap.report.figures.style import INK, SERIES, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 40
"""The maximum number of rows of the matrix."""
INCH, LETTER = 0.36, 0.065  # inches of a field and of a letter


def chosen(content: Content) -> list[ReportRow]:
    """Return the rows of the matrix: those with the best main score, best first."""
    score = content.quality
    compared = {name for pair in content.pairs for name in pair}
    rows = [row for row in content.rows if row.id in compared and score in row.scores]
    return content.ranked(rows)[:MOST]


def figure(content: Content) -> Figure | None:
    """Build the figure; None if nothing was compared."""
    rows = chosen(content)
    if len(rows) < 2:
        return None
    panel = Panel(title="", text="", draw=lambda axes, _: _draw(axes, rows, content.pairs))
    side = INCH * len(rows) + LETTER * max(len(short(name)) for name in headings(rows))
    return Figure(
        name="differences",
        title=f"Differences in {content.quality}",
        caption=f"Row minus column; a star where the adjusted p is below {1 - content.level:.2g}.",
        panels=[panel],
        size=(side, side),
    )


def between(pairs: Mapping[tuple[str, str], Difference], one: str, two: str) -> Difference | None:
    """Return the difference of two rows; `pairs` may have them in the other order."""
    if (one, two) in pairs:
        return pairs[one, two]
    return -pairs[two, one] if (two, one) in pairs else None


def _draw(
    axes: Axes, rows: Sequence[ReportRow], pairs: Mapping[tuple[str, str], Difference]
) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    differences = [[between(pairs, row.id, column.id) for column in rows] for row in rows]
    values = [[0.0 if pair is None else pair.value for pair in row] for row in differences]
    most = max(abs(value) for row in values for value in row) or 1.0
    colors = LinearSegmentedColormap.from_list("difference", [SERIES[1], "#ffffff", SERIES[0]])
    axes.imshow(values, cmap=colors, vmin=-1.4 * most, vmax=1.4 * most)
    for y, row in enumerate(differences):
        for x, pair in enumerate(row):
            if pair is not None:
                text = f"{pair.value:+.2f}{'*' if pair.significant else ''}"
                axes.text(x, y, text, ha="center", va="center", fontsize=6.5, color=INK)
    names = [short(name) for name in headings(rows)]
    axes.set_xticks(range(len(rows)), names, rotation=60, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), names)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=7.5)
