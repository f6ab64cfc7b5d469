"""The style of the figures, in the page and in papers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

SERIES = (
    *("#2a6fb0", "#c05f12", "#2f7d4f", "#a8417f"),
    *("#7a6a1e", "#6a51a3", "#1b7f87", "#b3322f"),
)
INK = "#1c1e21"
MUTED = "#5b6370"
RULE = "#dde1e6"
PAPER = "#ffffff"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.5)), (0, (5, 1.5, 1.5, 1.5)))
PANEL = (4.5, 3.2)  # inches: a column of a paper

RC: Mapping[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 10,
    "axes.linewidth": 0.7,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "figure.facecolor": PAPER,
    "font.family": "sans-serif",
    "font.size": 10,
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "legend.fontsize": 9.5,
    "legend.frameon": False,
    "legend.handlelength": 3.2,  # a dash and its gap on both sides of a marker
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "pdf.fonttype": 42,
    "savefig.facecolor": PAPER,
    "svg.fonttype": "none",
    "svg.hashsalt": "prefixcap",
    "text.color": INK,
    "text.parse_math": False,  # a dollar sign in a name does not start a formula
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 9.5,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 9.5,
}


def short(name: str, max_length: int = 38) -> str:
    """Shorten a name in its middle, to leave room for the figure."""
    if len(name) <= max_length:
        return name
    end = max_length // 3
    return f"{name[: max_length - end - 1]}…{name[-end:]}"


class Looks:
    """The color, dash and marker of each name, the same in all figures.

    The first eight names differ by color; the next ones have the same colors with other dashes.
    Kinds differ by marker, in figures without lines.
    """

    def __init__(self, names: Iterable[str], kinds: Iterable[str] = ()) -> None:
        self._names = {name: number for number, name in enumerate(dict.fromkeys(names))}
        self._kinds = {kind: number for number, kind in enumerate(dict.fromkeys(kinds))}

    def color(self, name: str) -> str:
        """Return the color of a name."""
        return SERIES[self._names[name] % len(SERIES)]

    def dash(self, name: str) -> Any:
        """Return the dash of a name's line."""
        return DASHES[self._names[name] // len(SERIES) % len(DASHES)]

    def marker(self, name: str) -> str:
        """Return the marker of a name."""
        return MARKERS[self._names[name] % len(MARKERS)]

    def shape(self, kind: str, name: str | None = None) -> str:
        """Return the marker of a kind, and of a name if names share a color."""
        again = 0 if name is None else self._names[name] // len(SERIES)
        return MARKERS[(self._kinds[kind] + again * len(self._kinds)) % len(MARKERS)]
