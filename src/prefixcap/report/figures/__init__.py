"""The figures of a report: drawn once by matplotlib, for the page and for papers."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from prefixcap.report.content import Content
from prefixcap.report.figures import curves, frontier, matrix, prefix
from prefixcap.report.figures.base import Figure
from prefixcap.report.figures.style import Looks


@attrs.frozen
class Figures:
    """What a report draws; None where the study has nothing of the kind."""

    prefix: Figure | None
    frontier: Figure | None
    differences: Figure | None
    training: Figure | None

    def __iter__(self) -> Iterator[Figure]:
        """Yields those that there are."""
        found = (self.prefix, self.frontier, self.differences, self.training)
        return (figure for figure in found if figure is not None)


def figures(content: Content) -> Figures:
    """Makes the figures; nothing is drawn yet."""
    grid = [cell for cell in content.cells if not cell.baseline]
    looks = Looks((cell.decoder for cell in grid), (cell.panel for cell in grid))
    return Figures(
        prefix=prefix.figure(content, looks),
        frontier=frontier.figure(content, looks),
        differences=matrix.figure(content),
        training=curves.figure(content),
    )
