"""Pictures for pre-training CLIP, and labels of their content."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from prefixcap_scenes.layout import place_objects
from prefixcap_scenes.lexicon import OBJECTS, PLACES, SIZES, SKIES
from prefixcap_scenes.pen import COLOURS
from prefixcap_scenes.render import render
from prefixcap_scenes.world import RELATIONS, ObjectGroup, Scene

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE = 96
PATCH = 16
GRID = SIDE // PATCH
PATCH_LABELS = [*OBJECTS, *COLOURS]


def pixels(scene: Scene) -> NDArray[np.uint8]:
    """Render a scene at CLIP's size (H,W,3), with the filter of CLIP's preprocessing."""
    picture = render(scene).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return np.asarray(picture, dtype=np.uint8)


def facts_of(scene: Scene) -> list[str]:
    """Return the facts that hold for a scene, such as "dog:brown" and "dog:main:on"."""
    facts = [f"place:{scene.place}", f"sky:{scene.sky}"]
    for role, group in (("main", scene.main), ("other", scene.other)):
        if group is not None:
            facts += _group_facts(group)
            facts.append(f"{group.kind}:{_role(role, scene.relation)}")
    return facts


def _role(role: str, relation: str | None) -> str:
    if relation == "right of":
        return f"{'other' if role == 'main' else 'main'}:left of"
    return f"{role}:{relation}"


def _group_facts(group: ObjectGroup) -> list[str]:
    return [f"{group.kind}:{value}" for value in ("", group.colour, group.size, group.count)]


def all_facts() -> list[str]:
    """Return all possible facts in a fixed order."""
    facts = [*(f"place:{place}" for place in PLACES), *(f"sky:{sky}" for sky in SKIES)]
    roles = [f"{role}:{relation}" for relation in RELATIONS for role in ("main", "other")]
    roles = [*(role for role in roles if "right of" not in role), "main:None"]
    for name, kind in OBJECTS.items():
        colours = dict.fromkeys(kind.colours)
        facts += [f"{name}:{value}" for value in ("", *colours, *SIZES, *range(1, 6), *roles)]
    return facts


def fact_table(scenes: Sequence[Scene]) -> NDArray[np.bool_]:
    """Return which facts hold for which scene (B,F)."""
    order = {fact: number for number, fact in enumerate(all_facts())}
    table = np.zeros((len(scenes), len(order)), dtype=bool)
    for row, scene in enumerate(scenes):
        table[row, [order[fact] for fact in facts_of(scene)]] = True
    return table


def patch_labels(scene: Scene) -> NDArray[np.bool_]:
    """Return the kinds and colors in each patch (N,S), by the objects' bounding boxes."""
    labels = np.zeros((GRID, GRID, len(PATCH_LABELS)), dtype=bool)
    for item in place_objects(scene):
        half = item.height * item.group.properties.aspect / 2
        columns = _covered(item.x - half, item.x + half)
        rows = _covered(item.top, item.base)
        for name in (item.group.kind, item.group.colour):
            labels[np.ix_(rows, columns, [PATCH_LABELS.index(name)])] = True
    return labels.reshape(GRID * GRID, len(PATCH_LABELS))


def _covered(low: float, high: float) -> list[int]:
    """Return the patches along one axis that the span covers by a third or by half its length."""
    threshold = min(0.33, (high - low) * GRID * 0.5)
    return [
        patch
        for patch in range(GRID)
        if min(high * GRID, patch + 1) - max(low * GRID, patch) > threshold
    ]
