"""The captions that the language model is pre-trained on."""

from __future__ import annotations

from itertools import islice

from prefixcap_scenes.captions import captions
from prefixcap_scenes.world import scenes

SEED = 7
"""The pre-training's own world: its scenes come from the train split, like those of every seed."""


def caption_sets(split: str, count: int, per_scene: int = 5) -> list[tuple[str, ...]]:
    """Returns the captions of the first scenes of a split."""
    return [captions(scene, per_scene) for scene in islice(scenes(split, SEED), count)]
