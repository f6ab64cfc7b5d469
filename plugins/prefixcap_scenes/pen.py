"""A pen that draws shapes in an object's own coordinates, and its colors."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import ImageDraw

Shade = tuple[int, int, int]
Point = tuple[float, float]

COLOURS: dict[str, Shade] = {
    "red": (214, 48, 49),
    "blue": (48, 98, 208),
    "green": (52, 150, 72),
    "yellow": (250, 207, 48),
    "orange": (240, 132, 38),
    "purple": (138, 66, 176),
    "pink": (246, 130, 178),
    "white": (246, 246, 244),
    "black": (40, 40, 46),
    "brown": (134, 84, 46),
    "grey": (148, 150, 156),
}
DARK: Shade = (36, 34, 40)
SKIN: Shade = (240, 196, 160)
GLASS: Shade = (196, 226, 244)
WOOD: Shade = (118, 76, 44)
METAL: Shade = (178, 182, 190)


def mix(first: Shade, second: Shade, share: float) -> Shade:
    """Interpolate between two shades: 0 is the first, 1 the second."""
    a, b, c = (round(x + (y - x) * share) for x, y in zip(first, second, strict=True))
    return a, b, c


def darker(shade: Shade, share: float = 0.25) -> Shade:
    """Mix black into a shade."""
    return mix(shade, (0, 0, 0), share)


def lighter(shade: Shade, share: float = 0.35) -> Shade:
    """Mix white into a shade."""
    return mix(shade, (255, 255, 255), share)


class Pen:
    """Draws in a box with the middle of its base at (0, 0) and its top at y = 1.

    Args:
        draw: Target of the drawing.
        x: Middle of the base, in pixels.
        y: Base, in pixels from the top of the picture.
        scale: Height of the box in pixels.
        flip: Whether to swap left and right.
    """

    def __init__(
        self, draw: ImageDraw.ImageDraw, x: float, y: float, scale: float, flip: bool = False
    ) -> None:
        self._draw, self._x, self._y, self._scale = draw, x, y, scale
        self._side = -1 if flip else 1

    def _at(self, x: float, y: float) -> Point:
        return self._x + self._side * x * self._scale, self._y - y * self._scale

    def _box(self, left: float, low: float, right: float, high: float) -> list[float]:
        (x0, y0), (x1, y1) = self._at(left, high), self._at(right, low)
        return [min(x0, x1), y0, max(x0, x1), y1]

    def _width(self, width: float) -> int:
        return max(1, round(width * self._scale))

    def oval(self, x: float, y: float, rx: float, ry: float, fill: Shade) -> None:
        """Fill an ellipse centered on (x, y)."""
        self._draw.ellipse(self._box(x - rx, y - ry, x + rx, y + ry), fill=fill)

    def ring(self, x: float, y: float, radius: float, width: float, fill: Shade) -> None:
        """Draw the outline of a circle."""
        box = self._box(x - radius, y - radius, x + radius, y + radius)
        self._draw.ellipse(box, outline=fill, width=self._width(width))

    def rect(
        self, left: float, low: float, right: float, high: float, fill: Shade, round_: float = 0
    ) -> None:
        """Fill a rectangle, with rounded corners if `round_` is positive."""
        box = self._box(left, low, right, high)
        if round_:
            self._draw.rounded_rectangle(box, round_ * self._scale, fill=fill)
        else:
            self._draw.rectangle(box, fill=fill)

    def poly(self, points: Sequence[Point], fill: Shade) -> None:
        """Fill a polygon."""
        self._draw.polygon([self._at(*point) for point in points], fill=fill)

    def line(self, points: Sequence[Point], width: float, fill: Shade) -> None:
        """Draw a line with round joints."""
        self._draw.line(
            [self._at(*point) for point in points],
            fill=fill,
            width=self._width(width),
            joint="curve",
        )

    def pie(self, x: float, y: float, radius: float, start: float, end: float, fill: Shade) -> None:
        """Fill a slice of a circle; degrees run clockwise from three o'clock."""
        box = self._box(x - radius, y - radius, x + radius, y + radius)
        self._draw.pieslice(box, start, end, fill=fill)
