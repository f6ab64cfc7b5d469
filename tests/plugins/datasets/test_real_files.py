"""The same real photographs, captions and embeddings in every format give the same examples."""

from __future__ import annotations

import csv
import json
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from prefixcap.interfaces.dataset import Dataset, DatasetConfig
from prefixcap.plugin.registry import default_registry

SPLITS = {"train": "train", "val": "dev", "test": "test"}


@pytest.fixture(scope="module")
def source(shared: Path) -> Path:
    return shared / "data" / "flickr8k_clip"


@pytest.fixture(scope="module")
def lines(source: Path) -> list[dict[str, Any]]:
    """Every ninth image, of which there are 100 in all splits."""
    texts = (source / "captions.jsonl").read_text("utf-8").splitlines()
    return [json.loads(text) for text in texts[::9]]


def pairs(lines: list[dict[str, Any]]) -> list[tuple[str, int, str]]:
    return [(line["image"], i, text) for line in lines for i, text in enumerate(line["captions"])]


def write_lists(folder: Path, lines: list[dict[str, Any]]) -> None:
    for split, name in SPLITS.items():
        names = [line["image"] for line in lines if line["split"] == split]
        (folder / f"Flickr_8k.{name}Images.txt").write_text("\n".join(names))


def kaggle(folder: Path, lines: list[dict[str, Any]], source: Path) -> str:
    with (folder / "captions.txt").open("w", newline="", encoding="utf-8") as file:
        rows = [(image, text) for image, _, text in pairs(lines)]
        csv.writer(file, lineterminator="\n").writerows([("image", "caption"), *rows])
    (folder / "Images").symlink_to(source / "images")
    write_lists(folder, lines)
    return f"flickr:path={folder}"


def tokens(folder: Path, lines: list[dict[str, Any]], source: Path) -> str:
    text = "".join(f"{image}#{i}\t{text}\n" for image, i, text in pairs(lines))
    (folder / "Flickr8k.token.txt").write_text(text, "utf-8")
    (folder / "Flicker8k_Dataset").symlink_to(source / "images")
    write_lists(folder, lines)
    return f"flickr:path={folder}"


def karpathy(folder: Path, lines: list[dict[str, Any]], source: Path) -> str:
    images = [
        {
            "filename": line["image"],
            "split": line["split"],
            "sentences": [{"raw": text} for text in line["captions"]],
        }
        for line in lines
    ]
    (folder / "dataset_flickr8k.json").write_text(json.dumps({"images": images}))
    return f"karpathy:path={folder},images={source / 'images'}"


def table(folder: Path, lines: list[dict[str, Any]], source: Path) -> str:
    with (folder / "a.tsv").open("w", newline="", encoding="utf-8") as file:
        rows = [(line["split"], line["image"], *line["captions"]) for line in lines]
        header = ("split", "image", *(f"caption_{i}" for i in range(5)))
        csv.writer(file, "excel-tab").writerows([header, *rows])
    return f"tsv:path={folder},caption=caption_*,images={source / 'images'}"


def shards(folder: Path, lines: list[dict[str, Any]], source: Path) -> str:
    for split in SPLITS:
        with tarfile.open(folder / f"{split}-000.tar", "w") as archive:
            for line in lines:
                if line["split"] == split:
                    text = folder / "text"
                    text.write_text("\n".join(line["captions"]), "utf-8")
                    archive.add(source / "images" / line["image"], line["image"])
                    archive.add(text, f"{Path(line['image']).stem}.txt")
    return f"webdataset:path={folder}"


def pickles(folder: Path, lines: list[dict[str, Any]], source: Path) -> str:
    features = torch.from_numpy(np.load(source / "clip_vitb32.npy")[::9])
    for split in SPLITS:
        rows = [
            i for i, line in enumerate(lines) for _ in line["captions"] if line["split"] == split
        ]
        captions = [
            {"image_id": image, "caption": text, "clip_embedding": i}
            for i, (image, _, text) in enumerate(pairs([e for e in lines if e["split"] == split]))
        ]
        content = {"clip_embedding": features[rows], "captions": captions}
        (folder / f"oscar_split_{split}.pkl").write_bytes(pickle.dumps(content))
    return f"clipcap:path={folder}"


def content(dataset: Dataset) -> dict[str, list[Any]]:
    return {
        split: [(e.image.id, *e.references) for e in dataset.examples(split)] for split in SPLITS
    }


@pytest.mark.parametrize("write", [kaggle, tokens, karpathy, table, shards, pickles])
def test_all_formats_give_the_same_examples(
    write: Callable[..., str], source: Path, lines: list[dict[str, Any]], tmp_path: Path
) -> None:
    registry = default_registry()
    original = registry.parse(DatasetConfig, f"jsonl:path={source}").build()
    names = {line["image"] for line in lines}
    expected = {s: [e for e in rows if e[0] in names] for s, rows in content(original).items()}
    assert {split: len(rows) for split, rows in expected.items()} == {
        split: sum(line["split"] == split for line in lines) for split in SPLITS
    }
    spec = write(tmp_path, lines, source)
    read = registry.parse(DatasetConfig, spec).build()
    assert content(read) == expected
    theirs = {e.image.id: e.image for e in original.examples("test")}
    for image in [example.image for example in read.examples("test")][:3]:
        if image.open is not None:
            assert image.open() == (theirs[image.id].open or pytest.fail)()
        if image.embedding is not None:
            assert (image.embedding() == (theirs[image.id].embedding or pytest.fail)()).all()


def test_images_and_embeddings_of_coco(shared: Path) -> None:
    """Real embeddings of 400 images of val2017, whose splits are in another file."""
    folder = shared / "data" / "coco_clip_text"
    spec = f"jsonl:path={folder},captions=rows.jsonl,embeddings=images_vitb16.npy"
    rows = default_registry().parse(DatasetConfig, spec).build()
    assert [len(rows.examples(split)) for split in ("train", "test")] == [300, 100]
    whole = default_registry().parse(DatasetConfig, f"coco:path={folder},splits=official").build()
    references = {e.image.id: set(e.references) for e in whole.examples("val")}
    for example in rows.examples("test"):
        assert set(example.references) <= references[example.image.id]


def test_a_folder_of_photographs(source: Path) -> None:
    dataset = default_registry().parse(DatasetConfig, f"images:path={source / 'images'}").build()
    assert len(dataset.examples("all")) == 900
    assert len({image.image.digest() for image in dataset.examples("all") if image.image.digest})
