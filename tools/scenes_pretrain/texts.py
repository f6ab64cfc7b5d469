"""Captions for pre-training the language model."""

from __future__ import annotations

from itertools import islice

from prefixcap_scenes.captions import captions
from prefixcap_scenes.world import scenes

SEED = 7
"""Seed of the pre-training scenes; evaluation scenes of any seed are in other splits."""


def caption_sets(split: str, count: int) -> list[tuple[str, ...]]:
    """Return the captions of the first scenes of a split."""
    return [captions(scene) for scene in islice(scenes(split, SEED), count)]
