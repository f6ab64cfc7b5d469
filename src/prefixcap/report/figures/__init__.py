"""The figures of a report, drawn by matplotlib for the page and for papers."""

from __future__ import annotations

from prefixcap.report.content import Content
from prefixcap.report.figures import curves, frontier, matrix, prefix
from prefixcap.report.figures.base import Figure
from prefixcap.report.figures.style import Looks


def figures(content: Content) -> dict[str, Figure]:
    """Build the figures for which the study has data, by name; nothing is drawn yet."""
    grid = [row for row in content.rows if not row.baseline]
    looks = Looks((row.decoder for row in grid), (row.panel for row in grid))
    built = (
        prefix.figure(content, looks),
        frontier.figure(content, looks),
        matrix.figure(content),
        curves.figure(content),
    )
    return {figure.name: figure for figure in built if figure is not None}
