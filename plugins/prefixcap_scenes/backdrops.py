"""Drawings of the backgrounds: sky, horizon and ground."""

from __future__ import annotations

from functools import cache
from random import Random

from PIL import Image, ImageDraw

from prefixcap_scenes.pen import Shade, darker, mix

HORIZON = {"meadow": 0.5, "beach": 0.48, "snow": 0.5, "street": 0.5, "desert": 0.52, "room": 0.66,
           "lake": 0.46}  # fmt: skip
_SKY: dict[str, tuple[Shade, Shade]] = {
    "day": ((98, 172, 236), (206, 232, 250)),
    "sunset": ((116, 84, 150), (252, 168, 96)),
    "night": ((12, 16, 44), (44, 54, 98)),
}
_LIGHT: dict[str, tuple[Shade, float]] = {
    "day": ((255, 255, 255), 0.0),
    "sunset": ((226, 120, 70), 0.22),
    "night": ((10, 14, 44), 0.52),
}
_GROUND: dict[str, tuple[Shade, Shade]] = {
    "meadow": ((134, 196, 92), (92, 160, 62)),
    "beach": ((244, 222, 164), (230, 200, 134)),
    "snow": ((240, 246, 252), (218, 228, 242)),
    "street": ((128, 130, 136), (104, 106, 112)),
    "desert": ((236, 178, 106), (212, 146, 78)),
    "room": ((182, 138, 96), (156, 112, 74)),
    "lake": ((84, 152, 204), (48, 112, 172)),
}


def tinted(shade: Shade, sky: str) -> Shade:
    """Tint a background shade for the time of day."""
    tint, share = _LIGHT[sky]
    return mix(shade, tint, share)


def ground_shade(place: str, sky: str) -> Shade:
    """Return the mean shade of a place's ground, for the shadows on it."""
    far, near = _GROUND[place]
    return tinted(mix(far, near, 0.5), sky)


@cache
def _gradient(top: Shade, low: Shade, width: int, height: int) -> Image.Image:
    strip = Image.new("RGB", (1, height))
    for y in range(height):
        strip.putpixel((0, y), mix(top, low, y / max(1, height - 1)))
    return strip.resize((width, height))


def paint(place: str, sky: str, size: int, rng: Random) -> Image.Image:
    """Paint a background.

    Args:
        place: A key of `lexicon.PLACES`.
        sky: "day", "sunset" or "night".
        size: Width and height of the picture in pixels.
        rng: Draws the positions of clouds, hills and so on.
    """
    image = Image.new("RGB", (size, size))
    horizon = round(size * HORIZON[place])
    far, near = (tinted(shade, sky) for shade in _GROUND[place])
    image.paste(_gradient(far, near, size, size - horizon), (0, horizon))
    draw = ImageDraw.Draw(image)
    if place == "room":
        _draw_room(draw, sky, size, horizon, rng)
    else:
        image.paste(_gradient(*_SKY[sky], size, horizon), (0, 0))
        _draw_sky(draw, sky, size, horizon, rng)
        _SCENERY[place](draw, sky, size, horizon, rng)
    return image


def _draw_sky(draw: ImageDraw.ImageDraw, sky: str, size: int, horizon: int, rng: Random) -> None:
    x = size * rng.uniform(0.08, 0.92)
    if sky == "night":
        for _ in range(22):
            _disc(draw, rng.uniform(0, size), rng.uniform(0, horizon * 0.8), size * 0.004,
                  (240, 240, 220))  # fmt: skip
        _disc(draw, x, horizon * 0.2, size * 0.045, (246, 240, 206))
        _disc(draw, x + size * 0.022, horizon * 0.17, size * 0.036, (18, 23, 54))
    elif sky == "sunset":
        _disc(draw, x, horizon * 0.94, size * 0.085, (255, 214, 110))
    else:
        _disc(draw, x, horizon * 0.2, size * 0.05, (255, 232, 110))
    if sky != "night":
        cloud = (252, 252, 255) if sky == "day" else (240, 170, 150)
        for _ in range(rng.choice((1, 2, 3))):
            _cloud(draw, rng.uniform(0, size), horizon * rng.uniform(0.12, 0.55),
                   size * rng.uniform(0.025, 0.045), cloud)  # fmt: skip


def _disc(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, fill: Shade) -> None:
    draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=fill)


def _cloud(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, fill: Shade) -> None:
    for dx, dy, share in ((-1.3, 0.3, 0.7), (0, 0, 1.0), (1.2, 0.25, 0.8), (0.5, -0.4, 0.7)):
        _disc(draw, x + dx * radius, y + dy * radius, radius * share, fill)


def _hills(
    draw: ImageDraw.ImageDraw, size: int, horizon: int, rng: Random, fill: Shade, height: float
) -> None:
    for _ in range(3):
        x, rx = size * rng.uniform(0, 1), size * rng.uniform(0.25, 0.45)
        ry = size * height * rng.uniform(0.6, 1.0)
        draw.pieslice([x - rx, horizon - ry, x + rx, horizon + ry], 180, 360, fill=fill)


def _meadow(draw: ImageDraw.ImageDraw, sky: str, size: int, horizon: int, rng: Random) -> None:
    _hills(draw, size, horizon, rng, tinted((112, 172, 104), sky), 0.09)
    blade = tinted((74, 138, 52), sky)
    for _ in range(16):
        x, y = rng.uniform(0, size), rng.uniform(horizon + size * 0.03, size)
        draw.line([x, y, x + size * 0.008, y - size * 0.02], fill=blade, width=size // 130)


def _beach(draw: ImageDraw.ImageDraw, sky: str, size: int, horizon: int, rng: Random) -> None:
    shore = horizon + size * rng.uniform(0.07, 0.1)
    draw.rectangle([0, horizon, size, shore], fill=tinted((52, 136, 190), sky))
    draw.rectangle([0, shore, size, shore + size * 0.012], fill=tinted((240, 248, 250), sky))
    for _ in range(10):
        x, y = rng.uniform(0, size), rng.uniform(shore + size * 0.04, size)
        _disc(draw, x, y, size * 0.005, tinted((204, 170, 108), sky))


def _snow(draw: ImageDraw.ImageDraw, sky: str, size: int, horizon: int, rng: Random) -> None:
    _hills(draw, size, horizon, rng, tinted((214, 224, 238), sky), 0.08)
    for _ in range(30):
        x, y = rng.uniform(0, size), rng.uniform(0, horizon)
        _disc(draw, x, y, size * 0.006, (255, 255, 255))


def _street(draw: ImageDraw.ImageDraw, sky: str, size: int, horizon: int, rng: Random) -> None:
    x = 0.0
    window = (255, 222, 130) if sky != "day" else (190, 208, 222)
    while x < size:
        width, height = size * rng.uniform(0.1, 0.17), size * rng.uniform(0.12, 0.27)
        wall = tinted(rng.choice(((150, 140, 150), (168, 150, 140), (136, 146, 162))), sky)
        draw.rectangle([x, horizon - height, x + width, horizon], fill=wall)
        for column in (0.2, 0.6):
            for row in range(int(height / (size * 0.06))):
                left, top = x + width * column, horizon - height + size * (0.018 + 0.06 * row)
                draw.rectangle([left, top, left + width * 0.2, top + size * 0.03], fill=window)
        x += width + size * 0.006
    draw.rectangle([0, horizon, size, horizon + size * 0.05], fill=tinted((190, 188, 184), sky))
    for left in range(-1, 4):
        start = size * (left * 0.3 + 0.08)
        draw.rectangle([start, size * 0.93, start + size * 0.16, size * 0.95],
                       fill=tinted((240, 238, 226), sky))  # fmt: skip


def _desert(draw: ImageDraw.ImageDraw, sky: str, size: int, horizon: int, rng: Random) -> None:
    _hills(draw, size, horizon, rng, tinted((224, 164, 94), sky), 0.11)
    ripple = tinted((204, 140, 76), sky)
    for _ in range(7):
        x, y = rng.uniform(-0.1, 0.9) * size, rng.uniform(horizon + size * 0.05, size)
        draw.arc([x, y, x + size * 0.22, y + size * 0.05], 200, 340, fill=ripple, width=size // 110)


def _lake(draw: ImageDraw.ImageDraw, sky: str, size: int, horizon: int, rng: Random) -> None:
    for _ in range(3):
        x, width, height = rng.uniform(0, size), size * rng.uniform(0.2, 0.3), size * 0.16
        rock = tinted((124, 134, 156), sky)
        draw.polygon([(x - width, horizon), (x, horizon - height), (x + width, horizon)], fill=rock)
        tip = [(x - width * 0.22, horizon - height * 0.78), (x, horizon - height),
               (x + width * 0.22, horizon - height * 0.78)]  # fmt: skip
        draw.polygon(tip, fill=tinted((244, 246, 250), sky))
    wave = tinted((128, 186, 226), sky)
    for _ in range(14):
        x, y = rng.uniform(0, size), rng.uniform(horizon + size * 0.02, size)
        draw.line([x, y, x + size * 0.06, y], fill=wave, width=size // 120)


def _draw_room(draw: ImageDraw.ImageDraw, sky: str, size: int, horizon: int, rng: Random) -> None:
    _, share = _LIGHT[sky]
    paper = rng.choice(((240, 226, 200), (218, 230, 220), (226, 220, 236)))
    wall = mix(paper, (40, 36, 70), share * 0.75)
    draw.rectangle([0, 0, size, horizon], fill=wall)
    draw.rectangle([0, horizon - size * 0.025, size, horizon], fill=darker(wall, 0.25))
    x, y, width = size * rng.choice((0.12, 0.4, 0.66)), size * 0.08, size * 0.24
    top, low = _SKY[sky]
    frame = mix((250, 248, 244), (40, 36, 70), share * 0.5)
    draw.rectangle([x - size * 0.02, y - size * 0.02, x + width + size * 0.02,
                    y + width + size * 0.02], fill=frame)  # fmt: skip
    draw.rectangle([x, y, x + width, y + width], fill=mix(top, low, 0.35 if sky != "sunset" else 1))
    if sky == "night":
        _disc(draw, x + width * 0.7, y + width * 0.3, size * 0.022, (246, 240, 206))
    draw.rectangle([x + width * 0.47, y, x + width * 0.53, y + width], fill=frame)
    draw.rectangle([x, y + width * 0.47, x + width, y + width * 0.53], fill=frame)


_SCENERY = {"meadow": _meadow, "beach": _beach, "snow": _snow, "street": _street, "desert": _desert,
        "lake": _lake}  # fmt: skip
