"""Splits drawn with a seed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefixcap_datasets.shares import share_of, shares

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.dataset import DatasetConfig
from prefixcap.plugin.registry import default_registry


def split(image: str, seed: int = 0, splits: str = "0.6/0.2/0.2") -> str:
    find = share_of(splits, seed)
    assert find is not None
    return find(image)


def test_splits_are_the_same_in_every_version() -> None:
    """These are recorded: other ones would change people's results."""
    images = ("dog.jpg", "42.jpg", "a/1.jpg", "7.jpg", "8.jpg", "9.jpg", "10.jpg")
    assert [split(image) for image in images] == RECORDED


RECORDED = ["test", "val", "val", "train", "train", "train", "val"]


def test_names_of_one_image_have_one_split() -> None:
    for number in range(200):
        names = (f"COCO_val2014_{number:012d}.jpg", f"{number:012d}.jpg", str(number))
        assert len({split(name) for name in names}) == 1
    # an image a folder: the names of the folders decide
    assert len({split(f"{number}/front.jpg") for number in range(50)}) == 3


def test_shares_are_kept_on_the_whole() -> None:
    for seed in (0, 1):
        counts = [split(f"{i}.jpg", seed) for i in range(10_000)]
        assert abs(counts.count("train") - 6000) < 200  # four standard deviations of 49
        assert abs(counts.count("val") - 2000) < 160
    differing = sum(split(f"{i}.jpg", 0) != split(f"{i}.jpg", 1) for i in range(10_000))
    assert abs(differing - 5600) < 200  # independent draws: 1 - .36 - .04 - .04


@given(st.text(min_size=1), st.integers())
def test_no_image_is_in_a_split_without_a_share(image: str, seed: int) -> None:
    assert split(image, seed, "1/0/0") == "train"
    assert split(image, seed, "0/1/3") != "train"
    assert split(image, seed, "3/0/1") != "val"


def test_percentages_are_shares() -> None:
    assert shares("80/10/10") == shares("8/1/1") == shares("0.8/0.1/0.1")
    assert shares("official") is None


@pytest.mark.parametrize("text", ["0.8/0.2", "1/1/-1", "0/0/0", "1/1/nan", "1/1/inf", "1/1/1/1"])
def test_other_numbers_are_errors(text: str) -> None:
    with pytest.raises(PrefixcapError, match=r"shares of train, val and test, such as 0.8/0.1/0.1"):
        default_registry().parse(DatasetConfig, f"jsonl:path=x,splits={text}")


def test_words_are_errors_that_name_those_known() -> None:
    with pytest.raises(PrefixcapError, match=r"must be karpathy, official, or shares such as 0.8"):
        default_registry().parse(DatasetConfig, "coco:path=x,splits=random")
    with pytest.raises(PrefixcapError, match=r"must be shares of train, val and test such as 0.8"):
        default_registry().parse(DatasetConfig, "flickr:path=x,splits=random")
