"""Drawing of scenes; a scene always gives the same picture."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from PIL import Image, ImageDraw

from prefixcap_scenes import backdrops, creatures, objects
from prefixcap_scenes.layout import PlacedObject, place_objects
from prefixcap_scenes.lexicon import OBJECTS
from prefixcap_scenes.pen import COLOURS, Pen, Shade, darker, mix
from prefixcap_scenes.world import Scene

SIZE = 192
"""Width and height of a picture in pixels."""

_OVERSAMPLING = 2  # drawn larger and then reduced, for smooth edges

_TINTS: dict[str, tuple[Shade, float]] = {
    "day": ((0, 0, 0), 0.0),
    "sunset": ((150, 70, 50), 0.06),
    "night": ((16, 20, 60), 0.18),
}

_DRAW: dict[str, Callable[[Pen, Shade], None]] = {
    name: getattr(creatures, name, None) or getattr(objects, name) for name in OBJECTS
}


def render(scene: Scene) -> Image.Image:
    """Draw a scene as an RGB picture of `SIZE` x `SIZE` pixels."""
    rng = Random(f"picture {scene.seed}")
    side = SIZE * _OVERSAMPLING
    image = backdrops.paint(scene.place, scene.sky, side, rng)
    draw = ImageDraw.Draw(image)
    for item in place_objects(scene):
        _draw_item(draw, item, scene, side, rng)
    return image.reduce(_OVERSAMPLING)


def looks_drawn(image: Image.Image) -> bool:
    """Return whether most pixels of an image equal their neighbor, as nearly all of a drawing do.

    In photographs, 7 to 20 percent do; in drawn scenes, at least 90.
    """
    import numpy as np

    gray = np.asarray(image.convert("L"))
    return bool(gray.shape[1] < 2 or (gray[:, 1:] == gray[:, :-1]).mean() > 0.5)


def _draw_item(
    draw: ImageDraw.ImageDraw, item: PlacedObject, scene: Scene, side: int, rng: Random
) -> None:
    x, base, height = item.x * side, item.base * side, item.height * side
    if item.stands:
        _shadow(draw, item, scene, side)
    pen = Pen(draw, x, base, height, item.flip)
    _DRAW[item.group.kind](pen, _shade(item.group.colour, scene.sky, rng))
    if item.stands and scene.place == "lake":
        _ripple(draw, item, scene, side)


def _shade(colour: str, sky: str, rng: Random) -> Shade:
    red, green, blue = (min(255, max(0, part + rng.randrange(-10, 11))) for part in COLOURS[colour])
    return mix((red, green, blue), *_TINTS[sky])


def _shadow(draw: ImageDraw.ImageDraw, item: PlacedObject, scene: Scene, side: int) -> None:
    half = item.height * item.group.properties.aspect * side * 0.46
    x, base = item.x * side, item.base * side
    shade = darker(backdrops.ground_shade(scene.place, scene.sky), 0.18)
    draw.ellipse([x - half, base - side * 0.012, x + half, base + side * 0.016], fill=shade)


def _ripple(draw: ImageDraw.ImageDraw, item: PlacedObject, scene: Scene, side: int) -> None:
    half = item.height * item.group.properties.aspect * side * 0.5
    x, base = item.x * side, item.base * side
    shade = backdrops.tinted((168, 212, 240), scene.sky)
    draw.rounded_rectangle(
        [x - half, base - side * 0.006, x + half, base + side * 0.006], side * 0.006, fill=shade
    )
