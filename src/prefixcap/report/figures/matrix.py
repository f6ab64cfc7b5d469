"""The matrix of paired differences, for papers; the page has it as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from prefixcap.report.content import Cell, Content, Pair
from prefixcap.report.figures.base import Figure, Panel
from prefixcap.report.figures.style import INK, SERIES, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 40  # cells
INCH = 0.36  # of a cell
LETTER = 0.065  # inches of a letter of a name


def chosen(content: Content) -> list[Cell]:
    """Returns the cells of the matrix: those with the highest quality score, highest first."""
    score = content.measures.quality
    compared = {name for pair in content.pairs for name in pair}
    cells = [c for c in content.cells if c.id in compared and score in c.scores]
    return sorted(cells, key=lambda cell: -cell.scores[score].value)[:MOST]


def figure(content: Content) -> Figure | None:
    """Makes the figure; None where nothing was compared."""
    cells = chosen(content)
    if len(cells) < 2:
        return None
    score = content.measures.quality
    panel = Panel(
        title="",
        text="",
        draw=lambda axes, _: _draw(axes, cells, content.pairs),
    )
    side = INCH * len(cells) + LETTER * max(len(short(cell.label)) for cell in cells)
    return Figure(
        name="differences",
        title=f"Differences in {score}",
        caption=f"Row minus column; a star where the adjusted p is below {1 - content.level:.2g}.",
        panels=[panel],
        size=(side, side),
    )


def between(pairs: Mapping[tuple[str, str], Pair], one: str, two: str) -> Pair | None:
    """Returns the difference of two cells, whichever of them stands first in `pairs`."""
    if (one, two) in pairs:
        return pairs[one, two]
    found = pairs.get((two, one))
    if found is None:
        return None
    low = None if found.high is None else -found.high
    high = None if found.low is None else -found.low
    return Pair(value=-found.value, low=low, high=high, p=found.p, real=found.real)


def _draw(axes: Axes, cells: Sequence[Cell], pairs: Mapping[tuple[str, str], Pair]) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    found = [[between(pairs, row.id, column.id) for column in cells] for row in cells]
    values = [[0.0 if pair is None else pair.value for pair in row] for row in found]
    most = max(abs(value) for row in values for value in row) or 1.0
    colours = LinearSegmentedColormap.from_list("difference", [SERIES[1], "#ffffff", SERIES[0]])
    axes.imshow(values, cmap=colours, vmin=-1.4 * most, vmax=1.4 * most)
    for y, row in enumerate(found):
        for x, pair in enumerate(row):
            if pair is not None:
                star = "*" if pair.real else ""
                size: dict[str, Any] = {
                    "ha": "center",
                    "va": "center",
                    "fontsize": 6.5,
                    "color": INK,
                }
                axes.text(x, y, f"{pair.value:+.2f}{star}", **size)
    names = [short(cell.label) for cell in cells]
    axes.set_xticks(range(len(cells)), names, rotation=60, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(cells)), names)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=7.5)
