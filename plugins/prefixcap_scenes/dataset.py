"""The drawn world as a data set."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property, partial
from hashlib import sha256
from itertools import accumulate

from prefixcap.errors import PrefixcapError, nearest
from prefixcap.interfaces.dataset import Dataset, Example, ImageItem
from prefixcap_scenes.captions import captions
from prefixcap_scenes.configs import Scenes
from prefixcap_scenes.proofs import drawing
from prefixcap_scenes.render import render
from prefixcap_scenes.world import SPLITS, Scene, split_scenes


class ScenesDataset(Dataset):
    """Scenes with their captions.

    Args:
        config: the sizes and the seed.
    """

    def __init__(self, config: Scenes) -> None:
        sizes = {split: int(getattr(config, split)) for split in SPLITS}
        starts = dict(zip(SPLITS, accumulate(sizes.values(), initial=0), strict=False))
        self._scenes = split_scenes(sizes, config.seed)
        self._examples = {
            split: [
                _example(scene, f"{split}-{number:06d}", starts[split] + number)
                for number, scene in enumerate(self._scenes[split])
            ]
            for split in SPLITS
        }

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the splits."""
        return SPLITS

    def examples(self, split: str) -> Sequence[Example]:
        """Returns a split's examples, always in the same order.

        Raises:
            PrefixcapError: there is no such split.
        """
        if split not in self._examples:
            raise PrefixcapError(f"scenes: no split {split!r}{nearest(split, SPLITS)}")
        return self._examples[split]

    def digest(self) -> str:
        """Returns a hash of all scenes and captions, and of how scenes are drawn."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        found = sha256(drawing().encode())
        for split in SPLITS:
            for scene, example in zip(self._scenes[split], self._examples[split], strict=True):
                said = [example.image.id, scene.content, scene.seed, example.references]
                found.update(json.dumps(said).encode())
        return found.hexdigest()[:16]


def _example(scene: Scene, name: str, index: int) -> Example:
    image = ImageItem(
        id=name, index=index, open=partial(render, scene), digest=partial(_shown, scene)
    )
    return Example(image=image, references=captions(scene))


def _shown(scene: Scene) -> str:
    """Returns a hash of what a scene shows and of how scenes are drawn."""
    said = [scene.content, scene.seed, drawing()]
    return sha256(json.dumps(said).encode()).hexdigest()[:16]
