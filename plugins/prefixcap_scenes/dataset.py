"""The drawn world as a data set."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from hashlib import sha256

from typing_extensions import override

from prefixcap.errors import PrefixcapError, nearest
from prefixcap.interfaces.dataset import Dataset, Example, ImageItem
from prefixcap_scenes.captions import captions
from prefixcap_scenes.render import render
from prefixcap_scenes.world import SPLITS, Scene, split_scenes


class ScenesDataset(Dataset):
    """Scenes with their captions; a picture is drawn when it is opened.

    Args:
        sizes: Number of images of each split, in the order of the splits.
        seed: Seed of the scenes.
        version: Version of the drawing and the captions, part of all digests.
    """

    def __init__(self, sizes: Mapping[str, int], seed: int, version: str) -> None:
        self._version = version
        self._scenes = split_scenes(sizes, seed)
        self._examples: dict[str, list[Example]] = {}
        start = 0
        for split, scenes in self._scenes.items():
            self._examples[split] = [
                _example(scene, f"{split}-{number:06d}", start + number, version)
                for number, scene in enumerate(scenes)
            ]
            start += len(scenes)

    @property
    @override
    def splits(self) -> tuple[str, ...]:
        return SPLITS

    @override
    def examples(self, split: str) -> Sequence[Example]:
        if split not in self._examples:
            raise PrefixcapError(f"scenes: no split {split!r}{nearest(split, SPLITS)}")
        return self._examples[split]

    @override
    def digest(self) -> str:
        return self._digest

    @cached_property
    def _digest(self) -> str:
        digest = sha256(self._version.encode())
        for split in SPLITS:
            for scene, example in zip(self._scenes[split], self._examples[split], strict=True):
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
