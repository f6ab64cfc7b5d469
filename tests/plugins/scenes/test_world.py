from __future__ import annotations

from hashlib import sha256
from itertools import islice

import attrs
import pytest
from prefixcap_scenes.captions import captions
from prefixcap_scenes.layout import place_objects
from prefixcap_scenes.lexicon import OBJECTS, PLACES
from prefixcap_scenes.world import RELATIONS, SPLITS, scenes, split_scenes


def test_the_world_is_the_same_everywhere() -> None:
    result = sha256()
    for scene in islice(scenes("train", 0), 200):
        result.update(f"{scene.content} {scene.seed} {captions(scene)}".encode())
    assert result.hexdigest()[:16] == "67b2b90bf41bf121"


def test_splits_share_no_scene_even_across_seeds() -> None:
    drawn = {
        split: {scene.content for seed in (0, 1, 7) for scene in islice(scenes(split, seed), 300)}
        for split in SPLITS
    }
    assert not drawn["train"] & drawn["val"]
    assert not drawn["train"] & drawn["test"]
    assert not drawn["val"] & drawn["test"]


def test_no_scene_appears_twice_in_a_split() -> None:
    drawn = [scene.content for scene in islice(scenes("train", 0), 1500)]
    assert len(set(drawn)) == len(drawn)


def test_the_splits_are_the_first_scenes_of_each() -> None:
    sizes = {"train": 40, "val": 7, "test": 3}
    drawn = split_scenes(sizes, 5)
    for split, size in sizes.items():
        assert drawn[split] == list(islice(scenes(split, 5), size))


def test_mirrored_descriptions_have_the_same_content() -> None:
    turned = 0
    for scene in islice(scenes("train", 0), 300):
        if scene.relation == "left of" and scene.other is not None:
            mirror = attrs.evolve(scene, main=scene.other, other=scene.main, relation="right of")
            assert mirror.content == scene.content
            turned += 1
        assert attrs.evolve(scene, seed=scene.seed + 1).content == scene.content
        other_sky = "night" if scene.sky == "day" else "day"
        assert attrs.evolve(scene, sky=other_sky).content != scene.content
    assert turned > 20


def test_everything_in_the_tables_is_drawn() -> None:
    drawn = list(islice(scenes("train", 0), 3000))
    groups = [group for scene in drawn for group in (scene.main, scene.other) if group]
    assert {group.kind for group in groups} == set(OBJECTS)
    assert {group.count for group in groups} == {1, 2, 3, 4, 5}
    assert {scene.place for scene in drawn} == set(PLACES)
    assert {scene.relation for scene in drawn} == {None, *RELATIONS}


def test_variety_is_too_large_to_memorise() -> None:
    """Of 2,000 drawings from one seed hardly any recurs with another seed."""
    first, second = (
        {scene.content for scene in islice(scenes("train", seed), 2000)} for seed in (0, 1)
    )
    assert len(first & second) < 100


@pytest.mark.parametrize("relation", [None, *RELATIONS])
def test_positions_match_the_relation(relation: str | None) -> None:
    drawn = [s for s in islice(scenes("train", 3), 1500) if s.relation == relation][:60]
    for scene in drawn:
        items = place_objects(scene)
        mains = [item for item in items if item.group == scene.main]
        others = [item for item in items if item.group == scene.other]
        assert len(mains) == scene.main.count
        assert len(others) == (scene.other.count if scene.other else 0)
        for main in mains:
            for other in others:
                if relation == "left of":
                    assert main.x < other.x
                elif relation == "right of":
                    assert main.x > other.x
                elif relation == "above":
                    assert main.base < other.base
                elif relation == "on":
                    assert main.base == pytest.approx(other.top, abs=0.02)
                    assert abs(main.x - other.x) < 0.3
                else:
                    assert main.base > other.base - 0.04
                    assert abs(main.x - other.x) < 0.4


def test_objects_are_inside_the_picture() -> None:
    for scene in islice(scenes("train", 4), 500):
        for item in place_objects(scene):
            assert 0.0 <= item.x <= 1.0
            assert item.base <= 1.0
            assert item.top > -0.06, (scene, item)
