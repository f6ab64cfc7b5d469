"""Pictures whose digest stands for the code that draws: features of other pictures are not used."""

from __future__ import annotations

import json
from functools import cache
from hashlib import sha256
from itertools import product

from prefixcap_scenes.lexicon import KINDS, PLACES, SIZES, SKIES
from prefixcap_scenes.pen import COLOURS
from prefixcap_scenes.render import render
from prefixcap_scenes.world import RELATIONS, Group, Scene


def proofs() -> list[Scene]:
    """Returns few scenes in which everything is drawn at least once.

    Every kind, every place by every sky and every relation is there, whether or not the world would
    put them together.
    """
    backgrounds = list(product(PLACES, SKIES))
    relations = (None, *RELATIONS)
    found = []
    for number, name in enumerate(KINDS):
        place, sky = backgrounds[number % len(backgrounds)]
        relation = relations[number % len(relations)]
        main = _group(name, number, 1 + number % KINDS[name].most)
        # of the things that others can be on
        under = "table" if name == "box" else "box"
        other = None if relation is None else _group(under, number, 1)
        found.append(Scene(place, sky, main, other, relation, number))
    return found


@cache
def drawing() -> str:
    """Returns a hash that changes when anything is drawn in another way."""
    found = sha256(json.dumps(COLOURS).encode())  # of which a few pictures cannot have all
    for scene in proofs():
        found.update(render(scene).tobytes())
    return found.hexdigest()


def _group(name: str, number: int, count: int) -> Group:
    colours = KINDS[name].colours
    return Group(name, colours[number % len(colours)], SIZES[number % len(SIZES)], count)
