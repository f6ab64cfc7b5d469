from __future__ import annotations

from hashlib import sha256
from itertools import islice
from typing import Any

import pytest
from PIL import ImageDraw
from prefixcap_scenes.configs import Scenes
from prefixcap_scenes.render import render
from prefixcap_scenes.world import scenes

DRAWN = {"1": "5810421200ab14f7"}
"""What each version draws; when a change to the drawing is intended, add a version."""


def drawing_calls(monkeypatch: pytest.MonkeyPatch) -> str:
    """Hash every call to Pillow, which unlike the pixels do not depend on Pillow's version."""
    digest = sha256()

    class Recorder:
        def __getattr__(self, name: str) -> Any:
            return lambda *args, **kwargs: digest.update(repr((name, args, kwargs)).encode())

    monkeypatch.setattr(ImageDraw, "Draw", lambda image: Recorder())
    for scene in islice(scenes("test", 0), 600):
        render(scene)
    return digest.hexdigest()[:16]


def test_a_change_to_the_drawing_is_a_new_version(monkeypatch: pytest.MonkeyPatch) -> None:
    assert drawing_calls(monkeypatch) == DRAWN[Scenes.version]
