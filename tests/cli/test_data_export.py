"""`prefixcap data export`: what is written in each format is read again as it was."""

from __future__ import annotations

import json
import os
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import prefixcap_datasets.writers.archives as archives
import pytest
import torch
from cli_world import World
from PIL import Image

from prefixcap.captioning.encode_images import encode
from prefixcap.interfaces.dataset import Dataset, DatasetConfig, Example, ImageItem
from prefixcap.plugin.registry import default_registry

Shell = Callable[..., tuple[int, str, str]]
FORMATS = ("coco", "karpathy", "flickr", "jsonl", "webdataset", "clipcap")
SCENES = "scenes:train=4,val=2,test=3"
CAPTIONS = ["A dog, a “cat” and a 'bird'.", 'It says "no, never".', "naïve Straße 猫", "#1\tx | y"]


def opened(spec: str) -> Dataset:
    return default_registry().parse(DatasetConfig, spec).build()


def captions(dataset: Dataset) -> dict[str, list[tuple[str, tuple[str, ...]]]]:
    return {s: [(e.image.id, e.references) for e in dataset.examples(s)] for s in dataset.splits}


def examples(dataset: Dataset) -> list[Example]:
    return [example for split in sorted(dataset.splits) for example in dataset.examples(split)]


def content(item: ImageItem) -> bytes:
    read = item.path.read_bytes if item.path is not None else item.content
    assert read is not None
    return read()


def pixels(item: ImageItem) -> Any:
    assert item.open is not None
    return np.asarray(item.open())


@pytest.fixture
def source(tmp_path: Path) -> str:
    """A data set of JPEG and PNG files, some of them in a folder, with embeddings."""
    folder = tmp_path / "source"
    (folder / "images" / "more").mkdir(parents=True)
    names = ["a.jpg", "more/b.JPG", "c d.png", "0042.jpg", "ü.png"]
    lines = []
    for number, name in enumerate(names):
        Image.new("RGB", (9, 8), (40 * number, 9, 9)).save(folder / "images" / name)
        split = ("train", "train", "val", "test", "train")[number]
        lines.append({"image": name, "split": split, "captions": CAPTIONS[: 1 + number % 4]})
    (folder / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)), "utf-8")
    np.save(folder / "features.npy", np.random.default_rng(0).standard_normal((5, 2, 3)))
    return f"jsonl:path={folder}"


@pytest.mark.parametrize("format_", FORMATS)
def test_a_data_set_is_read_again_as_it_was(
    format_: str, source: str, tmp_path: Path, shell: Shell
) -> None:
    out = tmp_path / "new folder" / "a, b"
    words = ["data", "export", source, "--format", format_, "--out", out]
    status, text, err = shell(*words, "--json")
    assert status == 0, err
    told = json.loads(text)
    assert told["splits"] == {"train": 3, "val": 1, "test": 1}
    assert told["captions"] == 1 + 2 + 3 + 4 + 1
    usual, written = opened(source), opened(told["dataset"])
    assert captions(written) == captions(usual)
    for old, new in zip(examples(usual), examples(written), strict=True):
        if format_ == "clipcap":
            assert new.image.path is new.image.content is None
        else:
            assert content(new.image) == content(old.image)
        if format_ in ("clipcap", "jsonl"):
            assert old.image.embedding is not None
            assert new.image.embedding is not None
            np.testing.assert_array_equal(old.image.embedding(), new.image.embedding())
    assert sorted(path.name for path in out.parent.iterdir()) == ["a, b"]  # nothing is left over
    status, _, err = shell(*words)
    assert (status, err) == (
        2,
        f"prefixcap: --out {out} already exists: give a new or empty folder\n",
    )


@pytest.mark.parametrize("format_", FORMATS)
def test_drawn_images_are_written_as_png(format_: str, tmp_path: Path, shell: Shell) -> None:
    out = tmp_path / "out"
    out.mkdir()  # an empty folder is as good as none
    encoder = ["--encoder", "scenes-clip"] if format_ in ("jsonl", "clipcap") else []
    words = ["--format", format_, "--out", out, "--split", "test,val", *encoder]
    status, text, err = shell("data", "export", SCENES, *words)
    assert status == 0, err
    ending = "" if format_ == "clipcap" else ".png"
    usual, written = opened(SCENES), opened(f"{format_}:path={out}")
    assert captions(written) == {
        split: [(f"{name}{ending}", texts) for name, texts in captions(usual)[split]]
        for split in ("val", "test")
    }
    drawn = [example for split in ("test", "val") for example in usual.examples(split)]
    features = encode("scenes-clip", [example.image for example in drawn]) if encoder else None
    for i, (old, new) in enumerate(zip(drawn, examples(written), strict=True)):
        if format_ != "clipcap":
            np.testing.assert_array_equal(pixels(new.image), pixels(old.image))
            assert content(new.image).startswith(b"\x89PNG")
        if features is not None:
            assert new.image.embedding is not None
            np.testing.assert_allclose(new.image.embedding(), features[i].numpy(), atol=1e-5)
    drawings = "none" if format_ == "clipcap" else "5 drawn"
    assert text.splitlines() == [
        "test: 3 images",
        "val: 2 images",
        f"25 captions; image files: {drawings}",
        f"read it with --dataset {format_}:path={out}",
    ]


def test_image_files_are_linked_or_copied_or_left_out(
    source: str, tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def files(mode: str) -> tuple[dict[str, int], list[os.stat_result]]:
        out = tmp_path / mode
        words = ["--format", "karpathy", "--out", out, "--images", mode, "--json"]
        status, text, _ = shell("data", "export", source, *words)
        assert status == 0
        shown = [p.stat() for p in sorted(out.rglob("*")) if p.suffix.lower() in (".png", ".jpg")]
        return {k: v for k, v in json.loads(text)["images"].items() if v}, shown

    counts, linked = files("link")
    assert counts == {"linked": 5}
    assert {state.st_nlink for state in linked} == {2}
    counts, copied = files("copy")
    assert counts == {"copied": 5}
    assert {state.st_nlink for state in copied} == {1}
    assert [s.st_mtime_ns for s in copied] == [s.st_mtime_ns for s in linked]
    assert files("none") == ({}, [])
    assert captions(opened(f"karpathy:path={tmp_path}/none")) == captions(opened(source))

    def refuse(*paths: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "link").rename(tmp_path / "elsewhere")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")  # a folder of the user's choice may be a link
    assert files("link")[0] == {"copied": 5}
    assert (tmp_path / "empty" / "dataset_custom.json").exists()


def test_archives_are_those_of_others(
    world: World, tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MOST_IMAGES", 7)
    source = f"jsonl:path={world.data}"
    words = ["data", "export", source, "--out"]
    assert shell(*words, tmp_path / "wds", "--format", "webdataset")[0] == 0
    shards = sorted(path.name for path in (tmp_path / "wds").iterdir())
    assert [name for name in shards if "train" in name] == [f"train-00000{i}.tar" for i in range(5)]
    with tarfile.open(tmp_path / "wds" / "val-000000.tar") as shard:
        assert shard.getnames()[:2] == ["val-0.png", "val-0.json"]
    # the files of an archive keep their bytes
    again = ["data", "export", f"webdataset:path={tmp_path}/wds", "--out", tmp_path / "again"]
    assert shell(*again, "--format", "flickr", "--split", "validation,val")[0] == 0
    old, new = (
        opened(source).examples("val"),
        opened(f"flickr:path={tmp_path}/again").examples("val"),
    )
    assert [content(e.image) for e in new] == [content(e.image) for e in old]
    assert shell(*words, tmp_path / "clipcap", "--format", "clipcap")[0] == 0
    data = pickle.loads((tmp_path / "clipcap" / "clipcap_test.pkl").read_bytes())
    assert data["clip_embedding"].shape == (8, 7)
    assert data["clip_embedding"].dtype == torch.float32
    assert len(data["captions"]) == 16
    assert data["captions"][3] == {
        "image_id": "test-1.png",
        "id": 3,
        "caption": "There is a house, and it is red.",
        "clip_embedding": 1,
    }


def test_numbers_of_coco_are_kept_if_all_images_have_one(tmp_path: Path, shell: Shell) -> None:
    def numbers(names: list[str]) -> dict[str, int]:
        folder, out = tmp_path / "-".join(names), tmp_path / f"out-{len(names)}"
        folder.mkdir()
        rows = "".join(f"{name},A.,train\n" for name in names)
        (folder / "a.csv").write_text(f"image,caption,split\n{rows}")
        words = ["--format", "coco", "--out", out, "--images", "none"]
        assert shell("data", "export", f"csv:path={folder}", *words)[0] == 0
        data = json.loads((out / "annotations" / "captions_train2014.json").read_text())
        return {image["file_name"]: image["id"] for image in data["images"]}

    names = ["COCO_val2014_000000000042.jpg", "000000000073.jpg"]
    assert list(numbers(names).values()) == [42, 73]
    assert list(numbers([*names, "dog.jpg"]).values()) == [1, 2, 3]


def test_what_cannot_be_exported_is_said_before_anything_is_written(
    source: str, tmp_path: Path, shell: Shell
) -> None:
    folder = Path(source.partition("=")[2])
    Image.new("RGB", (9, 8)).save(folder / "images" / "x.y.jpg")

    def lines(*entries: tuple[str, str]) -> str:
        texts = [json.dumps({"image": i, "split": s, "captions": ["A."]}) for i, s in entries]
        path = folder / f"{'-'.join(image.replace('/', '-') for image, _ in entries)}.jsonl"
        path = path.with_stem(f"{path.stem}-{entries[0][1]}")
        path.write_text("\n".join(texts))
        return f"{source},captions={path.name},allow_outside=true"

    (folder / "features.npy").unlink()
    (folder / "images" / "file").touch()
    whole, odd = "scenes:train=1,val=1,test=1", lines(("a.jpg", "Train"), ("ü.png", "train"))
    for spec, words, sentence in (
        (whole, "--format cooc", "--format: there is no format 'cooc'; did you mean 'coco'?"),
        (whole, "--format coco --images move", "--images: 'move' is unknown"),
        (whole, "--format webdataset --images none", "a sample of WebDataset is an image"),
        (whole, "--format coco --encoder scenes-clip", "coco has no features; jsonl and clipcap"),
        (whole, "--format clipcap", "clipcap is a format of features: name an encoder by --enc"),
        (whole, "--format coco --split tset", "did you mean 'test'?"),
        (
            whole,
            f"--format coco --out {folder}/images/file",
            "file already exists: give a new or empty",
        ),
        (f"images:path={folder}", "--format flickr", "flickr needs captions, and 6 images have"),
        (lines(("gone.jpg", "train")), "--format coco", "gone.jpg: the image does not exist; --im"),
        (lines(("x.y.jpg", "train")), "--format webdataset", "before the first full stop"),
        (lines(("../file", "train")), "--format jsonl --images none", "its id cannot be the name"),
        (lines(("a.jpg", "restval")), "--format flickr", "but not of restval: choose other splits"),
        (odd, "--format coco", "in which two of Train, train are the same"),
        (lines(("a.jpg", "x")), "--format clipcap --encoder scenes-clip", "test, not x: choose"),
        (lines(("file", "train")), "--format jsonl --encoder scenes-clip", "the file is empty"),
    ):
        out = [] if "--out" in words else ["--out", tmp_path / "out"]
        status, text, err = shell("data", "export", spec, *words.split(), *out)
        assert (status, text, err.count("\n")) == (2, "", 1), (spec, words, err)
        assert sentence in err
        assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_an_export_that_fails_leaves_nothing(source: str, tmp_path: Path, shell: Shell) -> None:
    folder = Path(source.partition("=")[2])
    (folder / "images" / "c d.png").write_text("no image")
    words = ["--format", "jsonl", "--out", tmp_path / "out"]
    assert shell("data", "export", source, *words, "--encoder", "scenes-clip")[0] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]
    assert shell("data", "export", source, *words)[0] == 0  # files are taken as they are
