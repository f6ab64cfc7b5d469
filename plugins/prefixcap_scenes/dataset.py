"""The drawn world as a data set."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property, partial
from hashlib import sha256
from itertools import count

from typing_extensions import override

from prefixcap.interfaces.dataset import Example, ImageItem, InMemoryDataset
from prefixcap_scenes.captions import captions
from prefixcap_scenes.render import render
from prefixcap_scenes.world import Scene, split_scenes


class ScenesDataset(InMemoryDataset):
    """Scenes with their captions; a picture is drawn when it is opened.

    Args:
        sizes: Number of images of each split, in the order of the splits.
        seed: Seed of the scenes.
        version: Version of the drawing and the captions, part of all digests.
    """

    def __init__(self, sizes: Mapping[str, int], seed: int, version: str) -> None:
        self._version = version
        self._scenes = split_scenes(sizes, seed)
        index = count()
        examples = {
            split: [
                _example(scene, f"{split}-{number:06d}", next(index), version)
                for number, scene in enumerate(scenes)
            ]
            for split, scenes in self._scenes.items()
        }
        super().__init__("scenes", examples)

    @override
    def digest(self) -> str:
        return self._digest

    @cached_property
    def _digest(self) -> str:
        digest = sha256(self._version.encode())
        for split, scenes in self._scenes.items():
            for scene, example in zip(scenes, self.examples(split), strict=True):
                parts = [example.image.id, scene.content, scene.seed, example.references]
                digest.update(json.dumps(parts).encode())
        return digest.hexdigest()[:16]


def _example(scene: Scene, name: str, index: int, version: str) -> Example:
    image = ImageItem(
        id=name,
        index=index,
        open=partial(render, scene),
        digest=partial(_image_digest, scene, version),
    )
    return Example(image=image, references=captions(scene))


def _image_digest(scene: Scene, version: str) -> str:
    return sha256(json.dumps([scene.content, scene.seed, version]).encode()).hexdigest()[:16]
