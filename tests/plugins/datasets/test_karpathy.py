"""The data set `karpathy`, on small copies of his three files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import prefixcap_datasets.configs as datasets
import pytest
from PIL import Image

from prefixcap.errors import PrefixcapError

SENTENCES = ("A child in a pink dress .", "A girl going into a wooden building .")


def entry(number: int, part: str, **more: object) -> dict[str, Any]:
    """Return an image as in the files of Flickr8k and Flickr30k, which have no folders."""
    sentences = [
        {"tokens": raw.lower().split()[:-1], "raw": raw, "imgid": number, "sentid": 5 * number + i}
        for i, raw in enumerate(SENTENCES)
    ]
    common = {"sentids": [5 * number, 5 * number + 1], "imgid": number, "sentences": sentences}
    return {**common, "split": part, "filename": f"10{number}_ab.jpg", **more}


def write(folder: Path, name: str, *images: dict[str, Any]) -> Path:
    path = folder / f"dataset_{name}.json"
    path.write_text(json.dumps({"images": images, "dataset": name}))
    return path


def draw(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (3, 4)).save(path)


def sentence(path: Path, **settings: Any) -> str:
    with pytest.raises(PrefixcapError) as caught:
        datasets.Karpathy(path=str(path), **settings).build()
    return str(caught.value)


@pytest.mark.parametrize(
    "folder", ["images", "Flicker8k_Dataset", "flickr30k-images", "elsewhere/pictures"]
)
def test_flickr(tmp_path: Path, folder: str) -> None:
    entries = [entry(i, split) for i, split in enumerate(("train", "test", "train", "val"))]
    path = write(tmp_path, "flickr8k", *entries)
    draw(tmp_path / folder / "101_ab.jpg")
    named = folder if "/" in folder else ""
    for place in (path, tmp_path):
        dataset = datasets.Karpathy(path=str(place), images=named).build()
        assert [len(dataset.examples(split)) for split in ("train", "val", "test")] == [2, 1, 1]
        example = dataset.examples("test")[0]
        assert (example.image.id, example.image.index) == ("101_ab.jpg", 1)
        assert example.references == SENTENCES
        assert example.image.open is not None
        assert example.image.open().size == (3, 4)


@pytest.mark.parametrize("parent", [".", "images"])
def test_coco(tmp_path: Path, parent: str) -> None:
    files = {9: "train", 42: "test", 74: "restval"}
    write(
        tmp_path,
        "coco",
        *(
            entry(
                i,
                split,
                cocoid=number,
                filepath="train2014" if split == "train" else "val2014",
                filename=f"COCO_val2014_{number:012d}.jpg",
            )
            for i, (number, split) in enumerate(files.items())
        ),
    )
    draw(tmp_path / parent / "val2014" / "COCO_val2014_000000000042.jpg")
    dataset = datasets.Karpathy(path=str(tmp_path)).build()
    assert [e.image.id[-6:-4] for e in dataset.examples("train")] == ["09", "74"]
    image = dataset.examples("test")[0].image
    assert image.open is not None
    assert image.open().size == (3, 4)
    kept = datasets.Karpathy(path=str(tmp_path), restval="keep").build()
    dropped = datasets.Karpathy(path=str(tmp_path), restval="drop").build()
    assert (kept.splits, dropped.splits) == (("train", "test", "restval"), ("train", "test"))
    assert kept.examples("restval")[0].image.index == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sentences": []}, "image 2: 'sentences' has no caption"),
        ({"sentences": [{"raw": 5}]}, "image 2, sentence 1: 'raw' must be a string, not 5"),
        ({"sentences": "x"}, "image 2: 'sentences' must be a list, not 'x'"),
        ({"split": None}, "image 2: 'split' must be a string, not None"),
        ({"filename": "100_ab.jpg"}, "already appears in"),
        ({"filename": "../../x.jpg"}, "image 2: '../../x.jpg' leads out of the data set's folder"),
        ({"filepath": "/etc"}, "leads out of the data set's folder, to '/etc/101_ab.jpg'"),
        ({"filepath": "..", "filename": "x"}, "image 2: 'x' leads out of the data set's folder"),
    ],
)
def test_a_broken_entry_is_an_error_with_its_place(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = write(tmp_path, "flickr8k", entry(0, "train"), entry(1, "test", **changes))
    assert message in sentence(path)


def test_missing_files_are_errors(tmp_path: Path) -> None:
    assert "has none, such as path=" in sentence(tmp_path)
    assert "dataset_coco.json does not exist" in sentence(tmp_path / "dataset_coco.json")
    write(tmp_path, "coco", entry(0, "train"))
    write(tmp_path, "flickr8k", entry(0, "train"))
    assert "has several (dataset_coco.json, dataset_flickr8k.json): choose one" in sentence(
        tmp_path
    )
    reason = "pictures, does not exist"
    assert reason in sentence(tmp_path / "dataset_coco.json", images="pictures")
    write(tmp_path, "coco")
    assert "the data set has no image" in sentence(tmp_path / "dataset_coco.json")
