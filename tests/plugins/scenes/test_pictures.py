from __future__ import annotations

import os
import subprocess
import sys
from hashlib import sha256
from itertools import islice

import attrs
import numpy as np
import pytest
from prefixcap_scenes.layout import place_objects
from prefixcap_scenes.lexicon import OBJECTS, PLACES
from prefixcap_scenes.pen import COLOURS
from prefixcap_scenes.render import SIZE, render
from prefixcap_scenes.world import ObjectGroup, Scene, scenes

DRAW = """
from hashlib import sha256
from itertools import islice
from prefixcap_scenes.render import render
from prefixcap_scenes.world import scenes
print(sha256(b"".join(render(s).tobytes() for s in islice(scenes("val", 0), 12))).hexdigest())
"""


def test_pictures_are_the_same_in_every_process() -> None:
    drawn = b"".join(render(scene).tobytes() for scene in islice(scenes("val", 0), 12))
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)}
        other = subprocess.run(
            [sys.executable, "-c", DRAW],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert other.stdout.strip() == sha256(drawn).hexdigest()


def test_pictures_do_not_depend_on_what_was_drawn_before() -> None:
    first, second = islice(scenes("val", 0), 2)
    before = render(first).tobytes()
    assert render(second).tobytes() != before
    assert render(first).tobytes() == before


@pytest.mark.parametrize("place", PLACES)
def test_each_place_looks_different_by_day_and_by_night(place: str) -> None:
    main = ObjectGroup(PLACES[place].ground[0], "brown", "plain", 1)
    means = []
    for sky in ("day", "sunset", "night"):
        picture = np.asarray(render(Scene(place, sky, main, None, None, 1)), dtype=float)
        assert picture.shape == (SIZE, SIZE, 3)
        means.append(picture.mean())
    assert means[0] > means[2] + 30


@pytest.mark.parametrize("name", OBJECTS)
def test_a_kind_is_drawn_in_its_colour_where_its_box_is(name: str) -> None:
    place = next(key for key, value in PLACES.items() if name in value.ground + value.air)
    kind = OBJECTS[name]
    colour = kind.colours[0]
    scene = Scene(place, "day", ObjectGroup(name, colour, "big", 1), None, None, 3)
    (item,) = place_objects(scene)
    half = item.height * kind.aspect / 2
    picture = np.asarray(render(scene), dtype=int)
    box = picture[
        max(0, round(item.top * SIZE)) : round(item.base * SIZE) + 1,
        max(0, round((item.x - half) * SIZE)) : round((item.x + half) * SIZE) + 1,
    ]
    near = np.abs(box - np.array(COLOURS[colour])).sum(-1) < 60
    assert near.mean() > 0.03, name


def test_the_seed_changes_only_the_picture() -> None:
    scene = next(scenes("val", 0))
    other = attrs.evolve(scene, seed=scene.seed + 1)
    assert render(scene).tobytes() != render(other).tobytes()
    assert scene.content == other.content
