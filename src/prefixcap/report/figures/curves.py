"""Training curves: the training loss of every step, the validation loss of every epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from prefixcap.report.content import Content, Curve
from prefixcap.report.figures.base import Figure, Panel, Tips
from prefixcap.report.figures.style import Looks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POINTS = 120  # of a smoothed line


def figure(content: Content) -> Figure | None:
    """Build the figure; None if no training has a history."""
    curves = [curve for curve in content.curves if curve.steps or curve.train]
    if not curves:
        return None
    looks = Looks(str(length) for length in sorted({curve.prefix_length for curve in curves}))
    names = list(dict.fromkeys(curve.panel for curve in curves))
    low, high = _range(curves)

    def panel(name: str) -> Panel:
        here = [curve for curve in curves if curve.panel == name]

        def draw(axes: Axes, tips: Tips) -> None:
            for curve in sorted(here, key=lambda curve: curve.prefix_length):
                _curve(axes, tips, curve, looks)
            axes.set_ylim(low, high)
            axes.set_xlabel("epoch")
            axes.set_ylabel("loss (nats per token)")
            axes.locator_params(axis="x", integer=True)

        return Panel(title=name, text=_description(name, here), draw=draw)

    validated = any(curve.val for curve in curves)
    return Figure(
        name="training",
        title="Training curves",
        caption="One color per prefix length, one line per seed. Faint: the training loss, a mean "
        "over stretches of steps."
        + (" Strong, with points: the validation loss of every epoch." if validated else ""),
        panels=[panel(name) for name in names],
    )


def smoothed(values: Sequence[float], points: int = POINTS) -> tuple[list[float], list[float]]:
    """Return the centers (0 to 1) and the means of equal stretches of the training."""
    size = max(1, len(values) // points)
    parts = [values[start : start + size] for start in range(0, len(values), size)]
    ends = [min(len(values), (number + 1) * size) for number in range(len(parts))]
    places = [(end - len(part) / 2) / len(values) for end, part in zip(ends, parts, strict=True)]
    return places, [sum(part) / len(part) for part in parts]


def _curve(axes: Axes, tips: Tips, curve: Curve, looks: Looks) -> None:
    name = str(curve.prefix_length)
    color = looks.color(name)
    epochs = len(curve.train) or len(curve.val) or 1
    label = f"P={name}"
    known = axes.get_legend_handles_labels()[1]
    places, losses = smoothed(curve.steps)
    axes.plot([place * epochs for place in places], losses, color=color, alpha=0.4, linewidth=0.9)
    strong = curve.val or curve.train
    axes.plot(
        range(1, len(strong) + 1),
        strong,
        color=color,
        marker=looks.marker(name),
        markersize=3.5,
        linewidth=1.3,
        label=None if label in known else label,
        gid=tips.add(f"{curve.id}: {', '.join(f'{loss:.3f}' for loss in strong)}"),
    )


def _range(curves: Sequence[Curve]) -> tuple[float, float]:
    """Return limits without the first steps, whose losses would flatten all others."""
    shown: list[float] = []
    for curve in curves:
        losses = smoothed(curve.steps)[1]
        shown += [*losses[len(losses) // 20 + 1 :], *curve.train, *curve.val]
    margin = 0.06 * (max(shown) - min(shown)) or 0.01
    return min(shown) - margin, max(shown) + margin


def _description(name: str, curves: Sequence[Curve]) -> str:
    ends = [
        f"P={curve.prefix_length} seed {curve.seed} {min(curve.val or curve.train):.3f}"
        for curve in curves
        if curve.val or curve.train
    ]
    more = f" and {len(ends) - 8} more" if len(ends) > 8 else ""
    return f"Training losses for {name}; lowest: {', '.join(ends[:8])}{more}."
