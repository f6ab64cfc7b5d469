"""The figures of a report, drawn by matplotlib for the page and for papers."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from prefixcap.report.content import Content
from prefixcap.report.figures import curves, frontier, matrix, prefix
from prefixcap.report.figures.base import Figure
from prefixcap.report.figures.style import Looks


@attrs.frozen
class Figures:
    """The figures of a report; None if the study has no data for one."""

    prefix: Figure | None
    frontier: Figure | None
    differences: Figure | None
    training: Figure | None

    def __iter__(self) -> Iterator[Figure]:
        figures = (self.prefix, self.frontier, self.differences, self.training)
        return (figure for figure in figures if figure is not None)


def figures(content: Content) -> Figures:
    """Build the figures without drawing them."""
    grid = [row for row in content.rows if not row.baseline]
    looks = Looks((row.decoder for row in grid), (row.panel for row in grid))
    return Figures(
        prefix=prefix.figure(content, looks),
        frontier=frontier.figure(content, looks),
        differences=matrix.figure(content),
        training=curves.figure(content),
    )
