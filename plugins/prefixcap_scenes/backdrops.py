"""The backgrounds: skies, and what lies under them."""

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


def lit(shade: Shade, sky: str) -> Shade:
    """Returns how a shade of the background looks at that time of the day."""
    tint, share = _LIGHT[sky]
    return mix(shade, tint, share)


def ground_shade(place: str, sky: str) -> Shade:
    """Returns the middle shade of a place's ground, for the shadows on it."""
    far, near = _GROUND[place]
    return lit(mix(far, near, 0.5), sky)


@cache
def _gradient(top: Shade, low: Shade, width: int, height: int) -> Image.Image:
    strip = Image.new("RGB", (1, height))
    for y in range(height):
        strip.putpixel((0, y), mix(top, low, y / max(1, height - 1)))
    return strip.resize((width, height))


def paint(place: str, sky: str, size: int, lot: Random) -> Image.Image:
    """Paints a background, a little different each time.

    Args:
        place: a key of `lexicon.PLACES`.
        sky: "day", "sunset" or "night".
        size: the picture's width and height in pixels.
        lot: draws clouds, hills and the like.
    """
    image = Image.new("RGB", (size, size))
    horizon = round(size * HORIZON[place])
    far, near = (lit(shade, sky) for shade in _GROUND[place])
    image.paste(_gradient(far, near, size, size - horizon), (0, horizon))
    draw = ImageDraw.Draw(image)
    if place == "room":
        _wall(draw, sky, size, horizon, lot)
    else:
        image.paste(_gradient(*_SKY[sky], size, horizon), (0, 0))
        _heavens(draw, sky, size, horizon, lot)
        _FAR[place](draw, sky, size, horizon, lot)
    return image


def _heavens(draw: ImageDraw.ImageDraw, sky: str, size: int, horizon: int, lot: Random) -> None:
    x = size * lot.uniform(0.08, 0.92)
    if sky == "night":
        for _ in range(22):
            _disc(draw, lot.uniform(0, size), lot.uniform(0, horizon * 0.8), size * 0.004,
                  (240, 240, 220))  # fmt: skip
        _disc(draw, x, horizon * 0.2, size * 0.045, (246, 240, 206))
        _disc(draw, x + size * 0.022, horizon * 0.17, size * 0.036, (18, 23, 54))
    elif sky == "sunset":
        _disc(draw, x, horizon * 0.94, size * 0.085, (255, 214, 110))
    else:
        _disc(draw, x, horizon * 0.2, size * 0.05, (255, 232, 110))
    if sky != "night":
        cloud = (252, 252, 255) if sky == "day" else (240, 170, 150)
        for _ in range(lot.choice((1, 2, 3))):
            _cloud(draw, lot.uniform(0, size), horizon * lot.uniform(0.12, 0.55),
                   size * lot.uniform(0.025, 0.045), cloud)  # fmt: skip


def _disc(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, fill: Shade) -> None:
    draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=fill)


def _cloud(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, fill: Shade) -> None:
    for dx, dy, share in ((-1.3, 0.3, 0.7), (0, 0, 1.0), (1.2, 0.25, 0.8), (0.5, -0.4, 0.7)):
        _disc(draw, x + dx * radius, y + dy * radius, radius * share, fill)


def _hills(
    draw: ImageDraw.ImageDraw, size: int, horizon: int, lot: Random, fill: Shade, height: float
) -> None:
    for _ in range(3):
        x, rx = size * lot.uniform(0, 1), size * lot.uniform(0.25, 0.45)
        ry = size * height * lot.uniform(0.6, 1.0)
        draw.pieslice([x - rx, horizon - ry, x + rx, horizon + ry], 180, 360, fill=fill)


def _meadow(draw: ImageDraw.ImageDraw, sky: str, size: int, horizon: int, lot: Random) -> None:
    _hills(draw, size, horizon, lot, lit((112, 172, 104), sky), 0.09)
    blade = lit((74, 138, 52), sky)
    for _ in range(16):
        x, y = lot.uniform(0, size), lot.uniform(horizon + size * 0.03, size)
        draw.line([x, y, x + size * 0.008, y - size * 0.02], fill=blade, width=size // 130)


def _beach(draw: ImageDraw.ImageDraw, sky: str, size: int, horizon: int, lot: Random) -> None:
    shore = horizon + size * lot.uniform(0.07, 0.1)
    draw.rectangle([0, horizon, size, shore], fill=lit((52, 136, 190), sky))
    draw.rectangle([0, shore, size, shore + size * 0.012], fill=lit((240, 248, 250), sky))
    for _ in range(10):
        x, y = lot.uniform(0, size), lot.uniform(shore + size * 0.04, size)
        _disc(draw, x, y, size * 0.005, lit((204, 170, 108), sky))


def _snow(draw: ImageDraw.ImageDraw, sky: str, size: int, horizon: int, lot: Random) -> None:
    _hills(draw, size, horizon, lot, lit((214, 224, 238), sky), 0.08)
    for _ in range(30):
        x, y = lot.uniform(0, size), lot.uniform(0, horizon)
        _disc(draw, x, y, size * 0.006, (255, 255, 255))


def _street(draw: ImageDraw.ImageDraw, sky: str, size: int, horizon: int, lot: Random) -> None:
    x = 0.0
    window = (255, 222, 130) if sky != "day" else (190, 208, 222)
    while x < size:
        width, height = size * lot.uniform(0.1, 0.17), size * lot.uniform(0.12, 0.27)
        wall = lit(lot.choice(((150, 140, 150), (168, 150, 140), (136, 146, 162))), sky)
        draw.rectangle([x, horizon - height, x + width, horizon], fill=wall)
        for column in (0.2, 0.6):
            for row in range(int(height / (size * 0.06))):
                left, top = x + width * column, horizon - height + size * (0.018 + 0.06 * row)
                draw.rectangle([left, top, left + width * 0.2, top + size * 0.03], fill=window)
        x += width + size * 0.006
    draw.rectangle([0, horizon, size, horizon + size * 0.05], fill=lit((190, 188, 184), sky))
    for left in range(-1, 4):
        start = size * (left * 0.3 + 0.08)
        draw.rectangle([start, size * 0.93, start + size * 0.16, size * 0.95],
                       fill=lit((240, 238, 226), sky))  # fmt: skip


def _desert(draw: ImageDraw.ImageDraw, sky: str, size: int, horizon: int, lot: Random) -> None:
    _hills(draw, size, horizon, lot, lit((224, 164, 94), sky), 0.11)
    ripple = lit((204, 140, 76), sky)
    for _ in range(7):
        x, y = lot.uniform(-0.1, 0.9) * size, lot.uniform(horizon + size * 0.05, size)
        draw.arc([x, y, x + size * 0.22, y + size * 0.05], 200, 340, fill=ripple, width=size // 110)


def _lake(draw: ImageDraw.ImageDraw, sky: str, size: int, horizon: int, lot: Random) -> None:
    for _ in range(3):
        x, width, height = lot.uniform(0, size), size * lot.uniform(0.2, 0.3), size * 0.16
        rock = lit((124, 134, 156), sky)
        draw.polygon([(x - width, horizon), (x, horizon - height), (x + width, horizon)], fill=rock)
        tip = [(x - width * 0.22, horizon - height * 0.78), (x, horizon - height),
               (x + width * 0.22, horizon - height * 0.78)]  # fmt: skip
        draw.polygon(tip, fill=lit((244, 246, 250), sky))
    wave = lit((128, 186, 226), sky)
    for _ in range(14):
        x, y = lot.uniform(0, size), lot.uniform(horizon + size * 0.02, size)
        draw.line([x, y, x + size * 0.06, y], fill=wave, width=size // 120)


def _wall(draw: ImageDraw.ImageDraw, sky: str, size: int, horizon: int, lot: Random) -> None:
    _, share = _LIGHT[sky]
    paper = lot.choice(((240, 226, 200), (218, 230, 220), (226, 220, 236)))
    wall = mix(paper, (40, 36, 70), share * 0.75)
    draw.rectangle([0, 0, size, horizon], fill=wall)
    draw.rectangle([0, horizon - size * 0.025, size, horizon], fill=darker(wall, 0.25))
    x, y, width = size * lot.choice((0.12, 0.4, 0.66)), size * 0.08, size * 0.24
    top, low = _SKY[sky]
    frame = mix((250, 248, 244), (40, 36, 70), share * 0.5)
    draw.rectangle([x - size * 0.02, y - size * 0.02, x + width + size * 0.02,
                    y + width + size * 0.02], fill=frame)  # fmt: skip
    draw.rectangle([x, y, x + width, y + width], fill=mix(top, low, 0.35 if sky != "sunset" else 1))
    if sky == "night":
        _disc(draw, x + width * 0.7, y + width * 0.3, size * 0.022, (246, 240, 206))
    draw.rectangle([x + width * 0.47, y, x + width * 0.53, y + width], fill=frame)
    draw.rectangle([x, y + width * 0.47, x + width, y + width * 0.53], fill=frame)


_FAR = {"meadow": _meadow, "beach": _beach, "snow": _snow, "street": _street, "desert": _desert,
        "lake": _lake}  # fmt: skip
