from __future__ import annotations

from hashlib import sha256
from itertools import islice, product
from typing import Any

import pytest
from PIL import Image, ImageDraw
from prefixcap_scenes import backdrops, layout, pen
from prefixcap_scenes import render as drawing
from prefixcap_scenes.configs import Scenes
from prefixcap_scenes.lexicon import OBJECTS, PLACES, SKIES
from prefixcap_scenes.render import render
from prefixcap_scenes.world import RELATIONS, Scene, scenes

DRAWN = {"1": "cf409deb069e6232"}
"""What each version draws; when a change to the drawing is intended, add a version."""


def recorded() -> list[Scene]:
    return list(islice(scenes("test", 0), 600))


def drawing_calls(monkeypatch: pytest.MonkeyPatch) -> str:
    """Hash what is drawn on Pillow: its calls, which unlike pixels do not depend on its version."""
    digest = sha256()

    class Recorder:
        def __getattr__(self, name: str) -> Any:
            return lambda *args, **kwargs: digest.update(repr((name, args, kwargs)).encode())

    def paste(image: Image.Image, gradient: Image.Image, box: tuple[int, int]) -> None:
        column = gradient.crop((0, 0, 1, gradient.height))
        digest.update(repr((gradient.size, box, column.tobytes())).encode())

    monkeypatch.setattr(ImageDraw, "Draw", lambda image: Recorder())
    monkeypatch.setattr(Image.Image, "paste", paste)
    for scene in recorded():
        render(scene)
    return digest.hexdigest()[:16]


def test_a_change_to_the_drawing_is_a_new_version(monkeypatch: pytest.MonkeyPatch) -> None:
    assert drawing_calls(monkeypatch) == DRAWN[Scenes.version]


def test_the_recorded_scenes_have_everything() -> None:
    drawn = recorded()
    groups = [group for scene in drawn for group in (scene.main, scene.other) if group]
    assert {group.kind for group in groups} == set(OBJECTS)
    assert {group.colour for group in groups} == set(pen.COLOURS)
    assert {(scene.place, scene.sky) for scene in drawn} == set(product(PLACES, SKIES))
    assert {scene.relation for scene in drawn} == {None, *RELATIONS}


@pytest.mark.parametrize(
    ("table", "key", "value"),
    [
        (drawing._DRAW, "cactus", lambda pen, shade: pen.rect(0, 0, 0.1, 0.1, shade)),
        (pen.COLOURS, "pink", (1, 2, 3)),
        (layout._ROOFS, "box", 0.2),
        # the same mean, which is the shade of shadows
        (backdrops._GROUND, "snow", ((239, 246, 252), (219, 228, 242))),
    ],
)
def test_a_change_to_the_drawing_is_noticed(
    table: dict[str, Any], key: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(table, key, value)
    assert drawing_calls(monkeypatch) != DRAWN[Scenes.version]
