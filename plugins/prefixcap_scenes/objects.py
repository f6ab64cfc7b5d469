"""Drawings of objects: each in a box of height 1 that stands on y = 0."""

from __future__ import annotations

from prefixcap_scenes.pen import DARK, GLASS, METAL, WOOD, Pen, Shade, darker, lighter


def _wheel(pen: Pen, x: float, radius: float) -> None:
    pen.oval(x, radius, radius, radius, DARK)
    pen.oval(x, radius, radius * 0.5, radius * 0.5, METAL)


def car(pen: Pen, shade: Shade) -> None:
    """A car from the side."""
    pen.poly([(-0.62, 0.5), (-0.4, 1.0), (0.36, 1.0), (0.66, 0.5)], shade)
    pen.poly([(-0.5, 0.54), (-0.34, 0.9), (-0.04, 0.9), (-0.04, 0.54)], GLASS)
    pen.poly([(0.04, 0.54), (0.04, 0.9), (0.31, 0.9), (0.52, 0.54)], GLASS)
    pen.rect(-1.0, 0.17, 1.0, 0.58, shade, 0.13)
    pen.rect(-1.0, 0.17, 1.0, 0.26, darker(shade))
    pen.oval(0.95, 0.45, 0.06, 0.07, (255, 240, 160))
    pen.oval(-0.97, 0.45, 0.04, 0.07, (220, 60, 50))
    for x in (-0.58, 0.58):
        _wheel(pen, x, 0.22)


def bus(pen: Pen, shade: Shade) -> None:
    """A bus from the side, with a row of windows."""
    pen.rect(-0.95, 0.12, 0.95, 1.0, shade, 0.08)
    pen.rect(-0.95, 0.12, 0.95, 0.24, darker(shade))
    pen.rect(-0.95, 0.44, 0.95, 0.5, lighter(shade, 0.6))
    for x in (-0.86, -0.5, -0.14, 0.22):
        pen.rect(x, 0.55, x + 0.28, 0.86, GLASS, 0.03)
    pen.rect(0.6, 0.2, 0.86, 0.86, GLASS, 0.03)
    for x in (-0.55, 0.4):
        _wheel(pen, x, 0.15)


def bicycle(pen: Pen, shade: Shade) -> None:
    """A bicycle from the side."""
    for x in (-0.46, 0.46):
        pen.ring(x, 0.31, 0.31, 0.06, DARK)
    frame = [(-0.46, 0.31), (-0.2, 0.72), (0.3, 0.72), (-0.04, 0.31)]
    pen.line([*frame, (-0.46, 0.31)], 0.075, shade)
    pen.line([(-0.04, 0.31), (-0.24, 0.84)], 0.075, shade)
    pen.line([(0.46, 0.31), (0.28, 0.9)], 0.075, shade)
    pen.line([(0.28, 0.9), (0.42, 0.98)], 0.06, DARK)
    pen.rect(-0.36, 0.84, -0.12, 0.9, DARK)


def boat(pen: Pen, shade: Shade) -> None:
    """A sailing boat."""
    pen.rect(-0.03, 0.2, 0.02, 1.0, WOOD)
    pen.poly([(0.04, 0.98), (0.04, 0.3), (0.42, 0.3)], (250, 248, 240))
    pen.poly([(-0.06, 0.88), (-0.06, 0.3), (-0.34, 0.3)], (232, 230, 220))
    pen.poly([(-0.48, 0.25), (0.48, 0.25), (0.32, 0), (-0.32, 0)], shade)
    pen.rect(-0.48, 0.2, 0.48, 0.25, lighter(shade, 0.4))


def plane(pen: Pen, shade: Shade) -> None:
    """A plane from the side, its nose on the right."""
    far = darker(shade, 0.3)
    pen.poly([(-0.95, 0.95), (-0.72, 0.95), (-0.5, 0.5), (-0.95, 0.5)], far)
    pen.rect(-1.0, 0.3, 0.8, 0.64, shade, 0.17)
    pen.oval(0.75, 0.47, 0.32, 0.17, shade)
    pen.poly([(0.74, 0.6), (0.98, 0.5), (0.78, 0.46)], (120, 170, 210))
    for x in (-0.6, -0.35, -0.1, 0.15, 0.4):
        pen.rect(x, 0.46, x + 0.12, 0.57, (110, 160, 205))
    pen.poly([(0.25, 0.4), (-0.05, 0.4), (-0.45, 0.0), (-0.22, 0.0)], far)


def balloon(pen: Pen, shade: Shade) -> None:
    """A balloon on a string."""
    pen.line([(0, 0.4), (0.04, 0.28), (-0.04, 0.14), (0, 0)], 0.025, (90, 90, 96))
    pen.poly([(0, 0.42), (-0.06, 0.35), (0.06, 0.35)], darker(shade))
    pen.oval(0, 0.7, 0.26, 0.3, shade)
    pen.oval(-0.1, 0.82, 0.06, 0.08, lighter(shade, 0.55))


def kite(pen: Pen, shade: Shade) -> None:
    """A kite with a tail."""
    pen.line([(0, 0.42), (-0.1, 0.28), (0.04, 0.16), (-0.06, 0)], 0.03, (90, 90, 96))
    for x, y in ((-0.08, 0.28), (0.02, 0.15)):
        pen.poly([(x - 0.07, y + 0.05), (x + 0.07, y - 0.05), (x + 0.07, y + 0.05),
                  (x - 0.07, y - 0.05)], shade)  # fmt: skip
    pen.poly([(0, 1.0), (0.3, 0.74), (0, 0.38), (-0.3, 0.74)], shade)
    pen.poly([(0, 1.0), (0.3, 0.74), (0, 0.74)], lighter(shade))
    pen.poly([(0, 0.38), (-0.3, 0.74), (0, 0.74)], darker(shade, 0.15))
    pen.line([(0, 1.0), (0, 0.38)], 0.02, darker(shade, 0.5))


def ball(pen: Pen, shade: Shade) -> None:
    """A ball with a stripe."""
    pen.oval(0, 0.5, 0.5, 0.5, darker(shade, 0.2))
    pen.oval(-0.02, 0.52, 0.46, 0.46, shade)
    pen.line([(-0.44, 0.56), (-0.15, 0.44), (0.15, 0.44), (0.44, 0.56)], 0.09, lighter(shade, 0.6)
             if shade[2] < 240 else (150, 150, 160))  # fmt: skip
    pen.oval(-0.18, 0.74, 0.1, 0.08, lighter(shade, 0.6))


def box(pen: Pen, shade: Shade) -> None:
    """A wooden box."""
    edge = darker(shade, 0.35)
    pen.rect(-0.5, 0, 0.5, 1.0, edge)
    pen.rect(-0.42, 0.08, 0.42, 0.92, shade)
    pen.line([(-0.42, 0.1), (0.42, 0.9)], 0.09, edge)
    pen.line([(-0.42, 0.9), (0.42, 0.1)], 0.09, edge)


def chair(pen: Pen, shade: Shade) -> None:
    """A chair from the side, its back on the left."""
    edge = darker(shade, 0.25)
    for x in (-0.28, 0.2):
        pen.rect(x, 0, x + 0.08, 0.45, edge)
    pen.rect(-0.3, 0.4, 0.3, 0.5, shade)
    pen.rect(-0.3, 0.45, -0.2, 1.0, shade)
    pen.rect(0.2, 0.5, 0.28, 0.5, edge)
    pen.rect(-0.3, 0.84, -0.12, 1.0, shade, 0.03)


def table(pen: Pen, shade: Shade) -> None:
    """A table from the front."""
    edge = darker(shade, 0.3)
    for x in (-0.72, 0.6):
        pen.rect(x, 0, x + 0.12, 0.86, edge)
    pen.rect(-0.78, 0.66, 0.78, 0.86, darker(shade, 0.15))
    pen.rect(-0.86, 0.84, 0.86, 1.0, shade, 0.04)


def house(pen: Pen, shade: Shade) -> None:
    """A house with a door, two windows and a chimney."""
    roof = (112, 58, 48) if shade[0] < 190 or shade[1] > 100 else (84, 70, 76)
    pen.rect(0.2, 0.7, 0.32, 0.98, darker(roof, 0.2))
    pen.rect(-0.4, 0, 0.4, 0.6, shade)
    pen.poly([(-0.5, 0.58), (0, 1.0), (0.5, 0.58)], roof)
    pen.rect(-0.08, 0, 0.1, 0.34, WOOD)
    pen.oval(0.06, 0.17, 0.016, 0.016, (240, 220, 120))
    for x in (-0.31, 0.18):
        pen.rect(x - 0.02, 0.25, x + 0.16, 0.47, (250, 250, 246))
        pen.rect(x, 0.27, x + 0.14, 0.45, (150, 196, 226))
        pen.rect(x + 0.06, 0.27, x + 0.08, 0.45, (250, 250, 246))


def tent(pen: Pen, shade: Shade) -> None:
    """A tent with an open door."""
    pen.poly([(-0.7, 0), (-0.1, 1.0), (0.7, 0)], darker(shade, 0.22))
    pen.poly([(-0.7, 0), (-0.1, 1.0), (0.3, 0)], shade)
    pen.poly([(-0.38, 0), (-0.12, 0.7), (0.04, 0)], DARK)


def tree(pen: Pen, shade: Shade) -> None:
    """A tree with a round crown."""
    pen.poly([(-0.06, 0), (-0.04, 0.5), (0.04, 0.5), (0.07, 0)], WOOD)
    dark = darker(shade, 0.18)
    for x, y, radius in ((-0.18, 0.55, 0.17), (0.18, 0.55, 0.17), (0, 0.52, 0.16)):
        pen.oval(x, y, radius, radius * 0.95, dark)
    for x, y, radius in ((-0.12, 0.7, 0.19), (0.14, 0.68, 0.18), (0.01, 0.82, 0.18)):
        pen.oval(x, y, radius, radius, shade)
    pen.oval(-0.06, 0.84, 0.07, 0.06, lighter(shade, 0.25))


def flower(pen: Pen, shade: Shade) -> None:
    """A flower with a stem and two leaves."""
    green = (58, 140, 60)
    pen.rect(-0.03, 0, 0.03, 0.65, green)
    pen.oval(-0.13, 0.22, 0.12, 0.055, green)
    pen.oval(0.13, 0.32, 0.12, 0.055, green)
    for x, y in ((0, 0.92), (0.17, 0.8), (0.11, 0.62), (-0.11, 0.62), (-0.17, 0.8)):
        pen.oval(x, y, 0.115, 0.115, shade)
    middle = (250, 200, 40) if shade[2] > 90 or shade[1] < 100 else (150, 84, 30)
    pen.oval(0, 0.75, 0.09, 0.09, middle)


def umbrella(pen: Pen, shade: Shade) -> None:
    """An open parasol on a pole."""
    pen.rect(-0.02, 0, 0.02, 0.95, WOOD)
    pen.pie(0, 0.6, 0.46, 180, 360, shade)
    pen.pie(0, 0.6, 0.46, 222, 262, (250, 250, 246))
    pen.pie(0, 0.6, 0.46, 300, 330, (250, 250, 246))
    pen.oval(0, 1.05, 0.03, 0.03, WOOD)


def lamp(pen: Pen, shade: Shade) -> None:
    """A lamp with a shade."""
    pen.oval(0, 0.05, 0.2, 0.055, METAL)
    pen.rect(-0.03, 0.05, 0.03, 0.55, METAL)
    pen.oval(0, 0.52, 0.09, 0.09, (255, 244, 170))
    pen.poly([(-0.3, 0.52), (0.3, 0.52), (0.17, 1.0), (-0.17, 1.0)], shade)
    pen.poly([(-0.3, 0.52), (0.3, 0.52), (0.28, 0.58), (-0.28, 0.58)], lighter(shade, 0.5))


def cactus(pen: Pen, shade: Shade) -> None:
    """A cactus with two arms."""
    pen.rect(-0.11, 0, 0.11, 1.0, shade, 0.1)
    for x, low, high in ((-0.3, 0.4, 0.78), (0.3, 0.3, 0.68)):
        pen.rect(min(x, 0), low, max(x, 0), low + 0.12, shade, 0.05)
        pen.rect(x - 0.07, low, x + 0.07, high, shade, 0.07)
    for x in (-0.04, 0.04):
        pen.line([(x, 0.08), (x, 0.92)], 0.018, darker(shade, 0.3))
    pen.oval(0, 1.0, 0.06, 0.05, (240, 120, 160))
