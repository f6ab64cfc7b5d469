"""Drawings of animals and people: each in a box of height 1 that stands on y = 0."""

from __future__ import annotations

from prefixcap_scenes.pen import DARK, SKIN, Pen, Shade, darker, lighter, mix


def dog(pen: Pen, shade: Shade) -> None:
    """A dog from the side, its head on the right."""
    far = darker(shade, 0.3)
    for x in (-0.3, 0.2):
        pen.rect(x, 0, x + 0.11, 0.45, far)
    for x in (-0.42, 0.3):
        pen.rect(x, 0, x + 0.12, 0.45, shade)
    pen.line([(-0.4, 0.6), (-0.56, 0.78), (-0.6, 0.95)], 0.09, shade)
    pen.oval(-0.03, 0.5, 0.45, 0.2, shade)
    pen.poly([(0.15, 0.45), (0.25, 0.85), (0.5, 0.8), (0.42, 0.4)], shade)
    pen.oval(0.37, 0.8, 0.19, 0.18, shade)
    pen.rect(0.4, 0.66, 0.66, 0.82, shade, 0.07)
    pen.oval(0.64, 0.79, 0.05, 0.05, DARK if shade[0] > 60 else lighter(shade))
    pen.oval(0.26, 0.76, 0.09, 0.19, far)
    pen.oval(0.44, 0.87, 0.035, 0.035, DARK if shade[0] > 60 else (255, 255, 255))


def cat(pen: Pen, shade: Shade) -> None:
    """A sitting cat from the front, its tail beside it."""
    far = darker(shade, 0.25)
    pen.line([(0.2, 0.06), (0.42, 0.1), (0.46, 0.3), (0.4, 0.46)], 0.09, far)
    pen.oval(0, 0.28, 0.3, 0.3, shade)
    pen.oval(-0.12, 0.06, 0.1, 0.07, lighter(shade, 0.25))
    pen.oval(0.12, 0.06, 0.1, 0.07, lighter(shade, 0.25))
    for side in (-1, 1):
        pen.poly([(side * 0.27, 0.72), (side * 0.25, 1.0), (side * 0.04, 0.86)], shade)
        pen.poly([(side * 0.22, 0.76), (side * 0.21, 0.92), (side * 0.1, 0.84)], (238, 160, 170))
    pen.oval(0, 0.68, 0.29, 0.22, shade)
    eye = (90, 200, 90)
    for x in (-0.11, 0.11):
        pen.oval(x, 0.71, 0.055, 0.06, eye)
        pen.oval(x, 0.71, 0.022, 0.055, DARK)
    pen.poly([(-0.04, 0.63), (0.04, 0.63), (0, 0.58)], (230, 120, 140))
    for side in (-1, 1):
        pen.line([(side * 0.1, 0.6), (side * 0.36, 0.64)], 0.015, mix(far, (255, 255, 255), 0.4))


def rabbit(pen: Pen, shade: Shade) -> None:
    """A sitting rabbit with long ears."""
    far = darker(shade, 0.2)
    pen.oval(-0.36, 0.18, 0.11, 0.11, lighter(shade, 0.7))
    pen.oval(-0.08, 0.26, 0.34, 0.27, shade)
    pen.oval(-0.12, 0.16, 0.2, 0.16, far)
    pen.oval(0.22, 0.05, 0.14, 0.06, far)
    pen.oval(0.12, 0.84, 0.07, 0.22, far)
    pen.oval(0.26, 0.84, 0.07, 0.22, shade)
    pen.oval(0.26, 0.84, 0.035, 0.16, (240, 170, 180))
    pen.oval(0.22, 0.55, 0.19, 0.17, shade)
    pen.oval(0.29, 0.59, 0.035, 0.04, DARK)
    pen.oval(0.4, 0.53, 0.035, 0.03, (230, 120, 140))


def horse(pen: Pen, shade: Shade) -> None:
    """A horse from the side, its head on the right."""
    far, mane = darker(shade, 0.3), darker(shade, 0.55)
    for x in (-0.26, 0.2):
        pen.rect(x, 0, x + 0.09, 0.45, far)
    for x in (-0.4, 0.3):
        pen.rect(x, 0.05, x + 0.1, 0.45, shade)
        pen.rect(x, 0, x + 0.1, 0.06, mane)
    pen.line([(-0.4, 0.6), (-0.52, 0.5), (-0.54, 0.26)], 0.09, mane)
    pen.oval(0, 0.52, 0.45, 0.19, shade)
    pen.poly([(0.16, 0.55), (0.34, 0.95), (0.5, 0.9), (0.44, 0.48)], shade)
    pen.poly([(0.36, 0.98), (0.62, 0.76), (0.6, 0.64), (0.5, 0.64), (0.34, 0.82)], shade)
    pen.poly([(0.34, 0.94), (0.38, 1.02), (0.44, 0.93)], shade)
    pen.line([(0.34, 0.97), (0.24, 0.8), (0.14, 0.64)], 0.09, mane)
    pen.oval(0.46, 0.84, 0.025, 0.03, (255, 255, 255) if shade[0] < 60 else DARK)


def duck(pen: Pen, shade: Shade) -> None:
    """A swimming duck, its head on the right."""
    pen.poly([(-0.62, 0.5), (-0.45, 0.14), (-0.2, 0.3)], shade)
    pen.oval(-0.05, 0.26, 0.47, 0.26, shade)
    pen.oval(-0.12, 0.32, 0.25, 0.14, darker(shade, 0.16))
    pen.rect(0.2, 0.3, 0.38, 0.75, shade)
    pen.oval(0.32, 0.78, 0.19, 0.2, shade)
    pen.poly([(0.46, 0.84), (0.68, 0.74), (0.46, 0.68)], (242, 140, 30))
    pen.oval(0.37, 0.84, 0.04, 0.045, DARK)


def bird(pen: Pen, shade: Shade) -> None:
    """A flying bird with its wings spread, its head on the right."""
    far = darker(shade, 0.25)
    pen.poly([(-0.1, 0.4), (-0.45, 1.0), (-0.55, 0.95), (-0.3, 0.35)], far)
    pen.poly([(-0.82, 0.52), (-0.84, 0.26), (-0.35, 0.3)], far)
    pen.oval(0, 0.36, 0.48, 0.2, shade)
    pen.poly([(0.2, 0.4), (-0.2, 1.05), (-0.36, 1.0), (-0.2, 0.36)], lighter(shade, 0.18))
    pen.oval(0.5, 0.46, 0.2, 0.19, shade)
    pen.poly([(0.66, 0.52), (0.9, 0.42), (0.66, 0.36)], (242, 160, 30))
    pen.oval(0.56, 0.52, 0.045, 0.05, DARK if shade[0] > 60 else (255, 255, 255))


def _legs_and_head(pen: Pen, legs: Shade, hair: Shade) -> None:
    pen.rect(-0.09, 0.02, -0.01, 0.42, legs)
    pen.rect(0.01, 0.02, 0.09, 0.42, legs)
    pen.rect(-0.12, 0, -0.01, 0.04, DARK)
    pen.rect(0.01, 0, 0.12, 0.04, DARK)
    pen.oval(0, 0.885, 0.105, 0.115, hair)
    pen.oval(0, 0.86, 0.085, 0.095, SKIN)
    for x in (-0.035, 0.035):
        pen.oval(x, 0.87, 0.013, 0.016, DARK)


def man(pen: Pen, shade: Shade) -> None:
    """A man in a shirt and trousers."""
    _legs_and_head(pen, (64, 66, 92), (84, 54, 30))
    for side in (-1, 1):
        pen.line([(side * 0.13, 0.7), (side * 0.19, 0.44)], 0.065, SKIN)
        pen.line([(side * 0.12, 0.72), (side * 0.165, 0.56)], 0.085, shade)
    pen.rect(-0.14, 0.38, 0.14, 0.76, shade, 0.05)
    pen.rect(-0.14, 0.37, 0.14, 0.41, DARK)


def woman(pen: Pen, shade: Shade) -> None:
    """A woman with long hair in a dress."""
    hair = (72, 42, 24)
    pen.rect(-0.13, 0.66, 0.13, 0.92, hair, 0.05)
    _legs_and_head(pen, SKIN, hair)
    for side in (-1, 1):
        pen.line([(side * 0.11, 0.72), (side * 0.19, 0.46)], 0.06, SKIN)
    pen.poly([(-0.1, 0.76), (0.1, 0.76), (0.09, 0.56), (0.23, 0.2), (-0.23, 0.2), (-0.09, 0.56)],
             shade)  # fmt: skip
    pen.rect(-0.09, 0.53, 0.09, 0.57, darker(shade, 0.35))


def snowman(pen: Pen, shade: Shade) -> None:
    """A snowman with a scarf and a hat."""
    snow, edge = (250, 252, 255), (186, 202, 224)
    for y, radius in ((0.25, 0.27), (0.57, 0.2), (0.8, 0.15)):
        pen.oval(0, y, radius + 0.015, radius + 0.015, edge)
        pen.oval(-0.01, y + 0.01, radius, radius, snow)
    pen.rect(-0.17, 0.64, 0.17, 0.72, shade, 0.03)
    pen.rect(0.06, 0.42, 0.15, 0.68, shade)
    pen.rect(-0.18, 0.9, 0.18, 0.94, DARK)
    pen.rect(-0.11, 0.92, 0.11, 1.08, DARK)
    for x in (-0.05, 0.05):
        pen.oval(x, 0.84, 0.022, 0.022, DARK)
    pen.poly([(0, 0.81), (0, 0.77), (0.2, 0.77)], (240, 130, 40))
    for y in (0.3, 0.45):
        pen.oval(0, y, 0.025, 0.025, DARK)
