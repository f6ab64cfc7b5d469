"""Draws scenes as pictures, always the same picture for the same scene."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from PIL import Image, ImageDraw

from prefixcap_scenes import backdrops, creatures, things
from prefixcap_scenes.layout import Item, place_items
from prefixcap_scenes.lexicon import KINDS
from prefixcap_scenes.pen import COLOURS, Pen, Shade, darker, mix
from prefixcap_scenes.world import Scene

SIZE = 192
"""The width and height of a picture in pixels."""

_FINE = 2
"""Pictures are drawn this many times larger and then reduced, for smooth edges."""

_GLOOM: dict[str, tuple[Shade, float]] = {
    "day": ((0, 0, 0), 0.0),
    "sunset": ((150, 70, 50), 0.06),
    "night": ((16, 20, 60), 0.18),
}

_DRAWN: dict[str, Callable[[Pen, Shade], None]] = {
    name: getattr(creatures, name, None) or getattr(things, name) for name in KINDS
}


def render(scene: Scene) -> Image.Image:
    """Draws a scene as an RGB picture of `SIZE` by `SIZE` pixels."""
    lot = Random(f"picture {scene.seed}")
    side = SIZE * _FINE
    image = backdrops.paint(scene.place, scene.sky, side, lot)
    draw = ImageDraw.Draw(image)
    for item in place_items(scene):
        _draw_item(draw, item, scene, side, lot)
    return image.reduce(_FINE)


def _draw_item(draw: ImageDraw.ImageDraw, item: Item, scene: Scene, side: int, lot: Random) -> None:
    x, base, height = item.x * side, item.base * side, item.height * side
    if item.stands:
        _shadow(draw, item, scene, side)
    pen = Pen(draw, x, base, height, item.flip)
    _DRAWN[item.group.kind](pen, _shade(item.group.colour, scene.sky, lot))
    if item.stands and scene.place == "lake":
        _ripple(draw, item, scene, side)


def _shade(colour: str, sky: str, lot: Random) -> Shade:
    red, green, blue = (min(255, max(0, part + lot.randrange(-10, 11))) for part in COLOURS[colour])
    return mix((red, green, blue), *_GLOOM[sky])


def _shadow(draw: ImageDraw.ImageDraw, item: Item, scene: Scene, side: int) -> None:
    half = item.height * item.group.what.aspect * side * 0.46
    x, base = item.x * side, item.base * side
    shade = darker(backdrops.ground_shade(scene.place, scene.sky), 0.18)
    draw.ellipse([x - half, base - side * 0.012, x + half, base + side * 0.016], fill=shade)


def _ripple(draw: ImageDraw.ImageDraw, item: Item, scene: Scene, side: int) -> None:
    half = item.height * item.group.what.aspect * side * 0.5
    x, base = item.x * side, item.base * side
    shade = backdrops.lit((168, 212, 240), scene.sky)
    draw.rounded_rectangle(
        [x - half, base - side * 0.006, x + half, base + side * 0.006], side * 0.006, fill=shade
    )
