from __future__ import annotations

import re

import pytest
from prefixcap_scenes.configs import Scenes

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.dataset import DatasetConfig
from prefixcap.plugin.registry import default_registry
from prefixcap.testing import Case, Check, parametrize

SMALL = Scenes(train=20, val=5, test=6)


@parametrize([Case(config=SMALL)])
def test_conformance(check: Check) -> None:
    check()


def test_the_default_sizes() -> None:
    result = Scenes().build()
    assert [len(result.examples(split)) for split in result.splits] == [2000, 200, 200]


def test_ids_name_the_split_and_the_number() -> None:
    result = SMALL.build()
    assert [example.image.id for example in result.examples("test")][:2] == [
        "test-000000",
        "test-000001",
    ]
    every = [example.image.index for split in result.splits for example in result.examples(split)]
    assert every == list(range(31))


def test_every_image_has_five_references() -> None:
    for split in ("train", "val", "test"):
        assert {len(example.references) for example in SMALL.build().examples(split)} == {5}


def test_a_larger_data_set_begins_with_the_smaller_one() -> None:
    large = Scenes(train=30, val=5, test=9).build()
    for split in ("train", "test"):
        few = [example.references for example in SMALL.build().examples(split)]
        assert few == [example.references for example in large.examples(split)][: len(few)]


def test_the_digest_depends_on_seed_and_size() -> None:
    digests = {Scenes(train=4, val=2, test=2, seed=seed).build().digest() for seed in range(3)}
    digests.add(Scenes(train=5, val=2, test=2).build().digest())
    assert len(digests) == 4


def test_another_version_changes_every_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    def digests() -> tuple[str, str | None]:
        result = SMALL.build()
        image = result.examples("test")[0].image
        return result.digest(), image.digest() if image.digest is not None else None

    before = digests()
    monkeypatch.setattr(Scenes, "version", "another")
    after = digests()
    assert before[0] != after[0]
    assert before[1] != after[1]


def test_the_error_for_an_unknown_split_names_the_nearest() -> None:
    with pytest.raises(
        PrefixcapError, match=re.escape("scenes: no split 'tests'; did you mean 'te")
    ):
        SMALL.build().examples("tests")


def test_a_size_out_of_range_is_an_error() -> None:
    with pytest.raises(PrefixcapError, match="train must be between 1 and 1000000, not 0"):
        default_registry().parse(DatasetConfig, "scenes:train=0")
    with pytest.raises(PrefixcapError, match="train must be between 1 and 1000000, not 100000000"):
        default_registry().parse(DatasetConfig, "scenes:train=100000000")
    for split in ("val", "test"):
        with pytest.raises(
            PrefixcapError, match=f"{split} must be between 1 and 100000, not 100001"
        ):
            default_registry().parse(DatasetConfig, f"scenes:{split}=100001")


def test_the_recommended_components_are_those_of_the_drawn_world() -> None:
    recommended = {"encoder": "scenes-clip", "lm": "scenes-gpt2", "training": "epochs=3"}
    assert Scenes.recommended == recommended
