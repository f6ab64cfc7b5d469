"""The drawn world: what a scene is, how it is drawn by lot, and which split it belongs to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache, cached_property
from hashlib import sha256
from itertools import count
from random import Random

import attrs

from prefixcap_scenes.lexicon import KINDS, PLACES, SKIES, Kind

SPLITS = ("train", "val", "test")
RELATIONS = ("left of", "right of", "above", "on", "under", "in front of")


@attrs.frozen
class Group:
    """Things of one kind that look alike.

    Attributes:
        kind: a key of `lexicon.KINDS`.
        colour: their colour.
        size: "small", "plain" or "big".
        count: how many there are.
    """

    kind: str
    colour: str
    size: str
    count: int

    @property
    def what(self) -> Kind:
        """The kind's words and proportions."""
        return KINDS[self.kind]


@attrs.frozen(slots=False)
class Scene:
    """One scene: all that a caption may say of it, and a seed for all that none does.

    Attributes:
        place: a key of `lexicon.PLACES`.
        sky: "day", "sunset" or "night".
        main: the things that the scene is about.
        other: the second group, where there is one.
        relation: how the main group is placed against the other, such as "left of".
        seed: draws the positions, the shades and the captions' words.
    """

    place: str
    sky: str
    main: Group
    other: Group | None
    relation: str | None
    seed: int

    @cached_property
    def content(self) -> str:
        """A hash of what the scene shows; mirrored descriptions of one scene have the same."""
        if self.other is None or self.relation is None:
            said: object = attrs.astuple(self.main)
        elif self.relation == "right of":
            said = ["left of", attrs.astuple(self.other), attrs.astuple(self.main)]
        else:
            said = [self.relation, attrs.astuple(self.main), attrs.astuple(self.other)]
        return sha256(json.dumps([self.place, self.sky, said]).encode()).hexdigest()

    @property
    def split(self) -> str:
        """The split that the scene belongs to, by its content alone: 80, 10 and 10 percent."""
        share = int(self.content[:8], 16) % 10
        return "test" if share == 0 else "val" if share == 1 else "train"


def scenes(split: str, seed: int) -> Iterator[Scene]:
    """Draws a split's scenes without end, none of them twice.

    Args:
        split: "train", "val" or "test".
        seed: another seed gives another world of scenes; the splits stay disjoint across seeds,
            because the content alone decides them.
    """
    return (scene for scene in _drawn(seed) if scene.split == split)


def split_scenes(sizes: Mapping[str, int], seed: int) -> dict[str, list[Scene]]:
    """Draws so many scenes of each split; they are the first that `scenes` gives."""
    found: dict[str, list[Scene]] = {split: [] for split in sizes}
    missing = sum(sizes.values())
    for scene in _drawn(seed) if missing else ():
        if len(found.get(scene.split, ())) < sizes.get(scene.split, 0):
            found[scene.split].append(scene)
            missing -= 1
        if not missing:
            break
    return found


def _drawn(seed: int) -> Iterator[Scene]:
    seen: set[str] = set()
    for number in count():
        scene = draw_scene(Random(f"prefixcap scenes {seed} {number}"))
        if scene.content not in seen:
            seen.add(scene.content)
            yield scene


def draw_scene(lot: Random) -> Scene:
    """Draws one scene."""
    name = lot.choices(list(PLACES), [place.weight for place in PLACES.values()])[0]
    sky = lot.choices(SKIES, (5, 2, 2))[0]
    relation, main, other = _pair(lot, name)
    return Scene(name, sky, main, other, relation, lot.getrandbits(48))


def _pair(lot: Random, name: str) -> tuple[str | None, Group, Group | None]:
    place = PLACES[name]
    options = _options(place.ground)
    weights = {"left of": 4, "right of": 4, "above": 4, "on": 3, "under": 3, "in front of": 2}
    relation = lot.choices(
        [None, *options], [3, *(weights[relation] for relation in options)]
    )[0]  # fmt: skip
    if relation is None:
        return None, _group(lot, lot.choice(place.ground + place.air), 5), None
    if relation == "above":
        return (
            relation,
            _group(lot, lot.choice(place.air), 3),
            _group(lot, lot.choice(place.ground), 2),
        )
    first, second = lot.choice(options[relation])
    if relation in ("left of", "right of"):
        return relation, _group(lot, first, 3), _group(lot, second, 2)
    sizes = ("plain", "big")
    return relation, _group(lot, first, 2, ("small", "plain")), _group(lot, second, 1, sizes)


@cache
def _options(kinds: tuple[str, ...]) -> dict[str, list[tuple[str, str]]]:
    """Lists the pairs of kinds that may stand in each relation, where there are any."""
    return {relation: pairs for relation in RELATIONS if (pairs := _pairs(relation, kinds))}


def _pairs(relation: str, kinds: tuple[str, ...]) -> list[tuple[str, str]]:
    pairs = [(first, second) for first in kinds for second in kinds if first != second]
    if relation == "above":
        return pairs
    if relation == "on":
        return [(a, b) for a, b in pairs if KINDS[a].top and KINDS[b].support]
    low = 0.33
    if relation == "under":
        return [(a, b) for a, b in pairs if KINDS[b].shelter and KINDS[a].height < low]
    if relation == "in front of":
        return [(a, b) for a, b in pairs if KINDS[b].screen and KINDS[a].height < low]
    return pairs


def _group(
    lot: Random, name: str, most: int, sizes: tuple[str, ...] = ("small", "plain", "big")
) -> Group:
    kind = KINDS[name]
    wide = kind.height * kind.aspect > 0.3
    most = min(most, kind.most, 1 if wide and most < 5 else 5)
    counts = range(1, most + 1)
    number = lot.choices(counts, [4, 3, 2.5, 1.5, 1.5][:most])[0]
    weights = [2 if size == "plain" else 1 for size in sizes]
    return Group(name, lot.choice(kind.colours), lot.choices(sizes, weights)[0], number)
