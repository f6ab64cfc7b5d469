"""Scenes of the drawn world, their random generation and their splits."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache, cached_property
from hashlib import sha256
from itertools import count
from random import Random

import attrs

from prefixcap_scenes.lexicon import OBJECTS, PLACES, SKIES, ObjectKind

SPLITS = ("train", "val", "test")
RELATIONS = ("left of", "right of", "above", "on", "under", "in front of")


@attrs.frozen
class ObjectGroup:
    """Objects of the same kind, colour and size."""

    kind: str  # a key of `lexicon.OBJECTS`
    colour: str
    size: str  # "small", "plain" or "big"
    count: int

    @property
    def properties(self) -> ObjectKind:
        """Words and proportions of the kind."""
        return OBJECTS[self.kind]


@attrs.frozen(slots=False)
class Scene:
    """Everything that a caption can say about a scene, and a seed for the rest."""

    place: str  # a key of `lexicon.PLACES`
    sky: str  # "day", "sunset" or "night"
    main: ObjectGroup
    other: ObjectGroup | None
    relation: str | None  # position of the main group relative to the other, such as "left of"
    seed: int  # seed of positions, shades and the words of the captions

    @cached_property
    def content(self) -> str:
        """Hash of everything but the seed, equal for mirrored descriptions of a scene."""
        if self.other is None or self.relation is None:
            groups: object = attrs.astuple(self.main)
        elif self.relation == "right of":
            groups = ["left of", attrs.astuple(self.other), attrs.astuple(self.main)]
        else:
            groups = [self.relation, attrs.astuple(self.main), attrs.astuple(self.other)]
        return sha256(json.dumps([self.place, self.sky, groups]).encode()).hexdigest()

    @property
    def split(self) -> str:
        """The split, which depends on the content only: 80, 10 and 10 percent."""
        share = int(self.content[:8], 16) % 10
        return "test" if share == 0 else "val" if share == 1 else "train"


def scenes(split: str, seed: int) -> Iterator[Scene]:
    """Yield distinct scenes of a split without end; splits of any two seeds are disjoint.

    Args:
        split: "train", "val" or "test".
        seed: Seed of the scenes.
    """
    return (scene for scene in _drawn(seed) if scene.split == split)


def split_scenes(sizes: Mapping[str, int], seed: int) -> dict[str, list[Scene]]:
    """Return the first scenes that `scenes` yields, `sizes` of each split."""
    chosen: dict[str, list[Scene]] = {split: [] for split in sizes}
    missing = sum(sizes.values())
    for scene in _drawn(seed) if missing else ():
        if len(chosen.get(scene.split, ())) < sizes.get(scene.split, 0):
            chosen[scene.split].append(scene)
            missing -= 1
        if not missing:
            break
    return chosen


def _drawn(seed: int) -> Iterator[Scene]:
    seen: set[str] = set()
    for number in count():
        scene = draw_scene(Random(f"prefixcap scenes {seed} {number}"))
        if scene.content not in seen:
            seen.add(scene.content)
            yield scene


def draw_scene(rng: Random) -> Scene:
    """Draw a scene at random."""
    name = rng.choices(list(PLACES), [place.weight for place in PLACES.values()])[0]
    sky = rng.choices(SKIES, (5, 2, 2))[0]
    relation, main, other = _pair(rng, name)
    return Scene(name, sky, main, other, relation, rng.getrandbits(48))


def _pair(rng: Random, name: str) -> tuple[str | None, ObjectGroup, ObjectGroup | None]:
    place = PLACES[name]
    options = _options(place.ground)
    weights = {"left of": 4, "right of": 4, "above": 4, "on": 3, "under": 3, "in front of": 2}
    relation = rng.choices(
        [None, *options], [3, *(weights[relation] for relation in options)]
    )[0]  # fmt: skip
    if relation is None:
        return None, _group(rng, rng.choice(place.ground + place.air), 5), None
    if relation == "above":
        return (
            relation,
            _group(rng, rng.choice(place.air), 3),
            _group(rng, rng.choice(place.ground), 2),
        )
    first, second = rng.choice(options[relation])
    if relation in ("left of", "right of"):
        return relation, _group(rng, first, 3), _group(rng, second, 2)
    sizes = ("plain", "big")
    return relation, _group(rng, first, 2, ("small", "plain")), _group(rng, second, 1, sizes)


@cache
def _options(kinds: tuple[str, ...]) -> dict[str, list[tuple[str, str]]]:
    """Return the pairs of kinds that are possible in each relation, if any."""
    return {relation: pairs for relation in RELATIONS if (pairs := _pairs(relation, kinds))}


def _pairs(relation: str, kinds: tuple[str, ...]) -> list[tuple[str, str]]:
    pairs = [(first, second) for first in kinds for second in kinds if first != second]
    if relation == "above":
        return pairs
    if relation == "on":
        return [(a, b) for a, b in pairs if OBJECTS[a].top and OBJECTS[b].support]
    max_height = 0.33
    if relation == "under":
        return [(a, b) for a, b in pairs if OBJECTS[b].shelter and OBJECTS[a].height < max_height]
    if relation == "in front of":
        return [(a, b) for a, b in pairs if OBJECTS[b].screen and OBJECTS[a].height < max_height]
    return pairs


def _group(
    rng: Random, name: str, max_count: int, sizes: tuple[str, ...] = ("small", "plain", "big")
) -> ObjectGroup:
    kind = OBJECTS[name]
    wide = kind.height * kind.aspect > 0.3
    max_count = min(max_count, kind.max_count, 1 if wide and max_count < 5 else 5)
    counts = range(1, max_count + 1)
    number = rng.choices(counts, [4, 3, 2.5, 1.5, 1.5][:max_count])[0]
    weights = [2 if size == "plain" else 1 for size in sizes]
    return ObjectGroup(name, rng.choice(kind.colours), rng.choices(sizes, weights)[0], number)
