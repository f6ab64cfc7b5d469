"""`prefixcap data check` and `data show`, on small data sets with every kind of problem."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import prefixcap_datasets.commands.near as near
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from prefixcap_datasets.problems import noting

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.dataset import DatasetConfig
from prefixcap.plugin.registry import default_registry

Shell = Callable[..., tuple[int, str, str]]


def picture(path: Path, seed: int, size: tuple[int, int] = (48, 36)) -> None:
    """Write a picture of smooth random shades, which differs from those of other seeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shades = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(shades).resize(size, Image.Resampling.BICUBIC).save(path)


def write_lines(folder: Path, *lines: tuple[str, str, list[str]]) -> str:
    """Write a caption file of images, splits and captions; return the data set's spec."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "images").mkdir(exist_ok=True)
    texts = [json.dumps({"image": i, "split": s, "captions": c}) for i, s, c in lines]
    (folder / "captions.jsonl").write_text("\n".join(texts) + "\n")
    return f"jsonl:path={folder}"


@pytest.fixture
def messy(tmp_path: Path) -> str:
    """A data set with every problem that a `jsonl` data set can have."""
    folder = tmp_path / "messy"
    images = folder / "images"
    for seed, name in enumerate(("a", "b", "c", "d", "e")):
        picture(images / f"{name}.png", seed)
    picture(images / "copy-of-a.bmp", 0)  # the same pixels in another format
    picture(images / "copy-of-b.png", 1)
    (images / "link-to-c.png").symlink_to("c.png")
    (images / "broken.png").write_bytes((images / "a.png").read_bytes()[:40])
    (images / "note.png").write_text("no image")
    picture(tmp_path / "outside.png", 9)
    return write_lines(
        folder,
        ("a.png", "train", ["A cat."]),
        ("copy-of-a.bmp", "test", ["A dog."]),
        ("b.png", "train", ["A bird.", "  "]),
        ("copy-of-b.png", "train", ["A fish."]),
        ("c.png", "train", ["A cow."]),
        ("link-to-c.png", "val", ["A horse."]),
        ("d.png", "train", ["A hen.", "One hen."]),
        ("d.png", "test", ["Again."]),
        ("e.png", "test", ["One hen.", "A hen."]),
        ("none.png", "train", []),
        ("broken.png", "train", ["A cut picture."]),
        ("note.png", "train", ["A text."]),
        ("gone.png", "val", ["A picture that is gone."]),
        ("../../outside.png", "val", ["A picture elsewhere."]),
    )


def test_check_finds_every_problem_and_ends_at_none(messy: str, shell: Shell) -> None:
    status, out, _ = shell("data", "check", messy, "--json")
    result = json.loads(out)
    assert (status, result["clean"], result["dataset"]) == (1, False, messy)
    assert result["splits"]["train"] == {
        **{"images": 8, "captions": 8, "min": 0, "mean": 1.0, "max": 2}
    }
    assert {split: each["images"] for split, each in result["splits"].items()} == {
        **{"train": 8, "test": 3, "val": 3}
    }
    assert result["counts"] == {
        **{"images": 14, "images_read": 9, "missing": 2, "unreadable": 2, "embeddings": 0}
    }
    problems = result["problems"]
    pairs = {kind: [each["images"] for each in found] for kind, found in problems.items()}
    assert pairs["leakage_between_splits"] == [
        [["train", "d.png"], ["test", "d.png"]],
        [["train", "c.png"], ["val", "link-to-c.png"]],
        [["train", "a.png"], ["test", "copy-of-a.bmp"]],
    ]
    ends = [each["text"].rpartition(" have ")[2] for each in problems["leakage_between_splits"]]
    assert ends == ["the same id", "the same file", "the same content"]
    assert pairs["duplicate_images"] == [[["train", "b.png"], ["train", "copy-of-b.png"]]]
    assert pairs["missing_images"] == [[["train", "none.png"]], [["val", "gone.png"]]]
    assert pairs["unreadable_images"] == [[["train", "broken.png"]], [["train", "note.png"]]]
    for kind, words in {
        "repeated_ids": "captions.jsonl, line 8: the image 'd.png' already appears in line 7",
        "without_captions": "captions.jsonl, line 10: 'captions' must be a list of strings, not []",
        "empty_captions": "captions.jsonl, line 3: 'captions' has an empty string",
        "outside_the_folder": "line 14: '../../outside.png' leads out of the data set's folder",
    }.items():
        (found,) = problems[kind]
        assert words in found["text"]
    assert len(problems) == 8
    (hint,) = result["hints"]["same_captions_in_two_splits"]
    assert hint["images"] == [["train", "d.png"], ["test", "e.png"]]
    # without the check, the first of these is an error
    with pytest.raises(PrefixcapError, match="line 3: 'captions' has an empty string"):
        default_registry().parse(DatasetConfig, messy).build()


def test_check_says_it_in_words(messy: str, shell: Shell) -> None:
    status, out, _ = shell("data", "check", messy)
    lines = out.splitlines()
    assert status == 1
    assert lines[0].split("  ")[0] == "split"
    assert lines[1].split() == ["train", "8", "8", "0,", "1.00,", "2"]
    assert lines[4] == "9 of 14 images read, 2 missing, 2 unreadable"
    assert "problem: unreadable images: 2" in lines
    assert "  train: c.png, val: link-to-c.png have the same file" in lines
    assert "hint: same captions in two splits: 1" in lines
    assert lines[-1] == "12 problems"
    assert shell("data", "check", messy, "--no-images")[1].splitlines()[4] == "images were not read"


def test_a_clean_data_set_and_one_whose_images_are_not_needed(tmp_path: Path, shell: Shell) -> None:
    folder = tmp_path / "clean"
    names = [f"{i}.png" for i in range(7)]
    spec = write_lines(folder, *((name, "train", ["One.", name]) for name in names))
    status, out, _ = shell("data", "check", spec)
    assert status == 1
    assert "problem: missing images: 7 (none is needed if features are precomputed: --no" in out
    assert "  and 2 more, which --json lists" in out
    assert shell("data", "check", spec, "--no-images")[0] == 0
    np.save(folder / "features.npy", np.eye(7, dtype=np.float32))
    status, out, _ = shell("data", "check", spec)  # which the data set has now
    assert (status, out.splitlines()[-1]) == (0, "no problems")
    assert "0 of 7 images read, 7 missing, 7 embeddings" in out
    features = np.eye(7, dtype=np.float32)
    features[3], features[5, 0] = features[2], np.nan
    np.save(folder / "features.npy", features)
    problems = json.loads(shell("data", "check", spec, "--json")[1])["problems"]
    assert problems["duplicate_images"][0]["text"] == (
        "train: 2.png, train: 3.png have the same content"
    )
    assert "row 5 has values that are not finite" in problems["unreadable_embeddings"][0]["text"]
    assert shell("data", "check", "scenes:train=3,val=1,test=1")[0] == 0


def coco(folder: Path) -> str:
    images = [{"id": i, "file_name": f"{i}.jpg"} for i in (1, 2, 3, 3)]
    captions = [{"image_id": i, "caption": text} for i, text in ((1, "A."), (1, " "), (3, "C."))]
    data = {"images": images, "annotations": captions}
    (folder / "captions_train2017.json").write_text(json.dumps(data))
    return f"coco:path={folder},splits=official"


def karpathy(folder: Path) -> str:
    def entry(name: str, split: str, *texts: str) -> dict[str, Any]:
        return {"filename": name, "split": split, "sentences": [{"raw": text} for text in texts]}

    images = [entry("a", "train", "A.", ""), entry("b", "train"), entry("a", "test", "C.")]
    (folder / "dataset_x.json").write_text(json.dumps({"images": images}))
    return f"karpathy:path={folder}"


def flickr(folder: Path) -> str:
    (folder / "captions.txt").write_text("image,caption\na.jpg,A.\na.jpg, \nb.jpg,B.\n")
    (folder / "train.txt").write_text("a.jpg\nc.jpg\n")
    (folder / "test.txt").write_text("b.jpg\na.jpg\n")
    return f"flickr:path={folder}"


def table(folder: Path) -> str:
    rows = "image,caption,split\na.jpg,A.,train\nb.jpg,,train\na.jpg,B.,test\n"
    (folder / "a.csv").write_text(rows)
    return f"csv:path={folder}"


def clipcap(folder: Path) -> str:
    entries = [
        {"image_id": "a", "clip_embedding": 0, "caption": "A."},
        {"image_id": "a", "clip_embedding": 1, "caption": " "},
        {"image_id": "b", "clip_embedding": 2, "caption": ""},
    ]
    for split, some in (("train", entries), ("val", entries[:1])):
        data = {"clip_embedding": torch.eye(3), "captions": some}
        (folder / f"{split}.pkl").write_bytes(pickle.dumps(data))
    return f"clipcap:path={folder}"


@pytest.mark.parametrize(
    ("make", "problems"),
    [
        (coco, {"empty_captions": 1, "without_captions": 1, "repeated_ids": 1}),
        (
            karpathy,
            {
                **{"empty_captions": 1, "without_captions": 1, "repeated_ids": 1},
                "leakage_between_splits": 1,
            },
        ),
        (flickr, {"empty_captions": 1, "without_captions": 1, "in_two_splits": 1}),
        (table, {"empty_captions": 1, "without_captions": 1, "in_two_splits": 1}),
        (
            clipcap,
            {
                **{"empty_captions": 2, "without_captions": 1, "repeated_ids": 1},
                "leakage_between_splits": 1,
            },
        ),
    ],
)
def test_what_is_wrong_with_an_image_is_noted_by_every_reader(
    make: Callable[[Path], str], problems: dict[str, int], tmp_path: Path, shell: Shell
) -> None:
    spec = make(tmp_path)
    status, out, _ = shell("data", "check", spec, "--no-images", "--json")
    found = json.loads(out)["problems"]
    assert {kind: len(each) for kind, each in found.items()} == problems
    assert status == 1
    assert shell("data", "show", spec)[0] == 2  # where it is an error


def test_data_that_cannot_be_read_is_an_error_of_one_sentence(tmp_path: Path, shell: Shell) -> None:
    (tmp_path / "captions.jsonl").write_text("{")
    (tmp_path / "images").mkdir()
    for words, sentence in {
        ("check", f"jsonl:path={tmp_path}"): "captions.jsonl, line 1: not JSON",
        ("check", "cocoo:path=x"): "did you mean 'coco'?",
        ("check", "scenes", "--distance", "11"): "--distance must be from 0 to 10, not 11",
        ("check", "scenes", "--near-duplicates", "--no-images"): "leave out --no-images",
        ("show", "scenes", "--split", "tran"): "did you mean 'train'?",
        ("show", "scenes", "--count", "0"): "--count must be at least 1, not 0",
        ("checks",): "there is no command 'checks'; did you mean 'check'?",
        (): "data: missing command; see `prefixcap data --help`",
    }.items():
        status, out, err = shell("data", *words)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert sentence in err
    with noting() as noted:
        assert noted == {}


def test_real_data(shared: Path, tmp_path: Path, shell: Shell) -> None:
    (tmp_path / "captions_val2017.json").symlink_to(
        shared / "data" / "coco_clip_text" / "captions_val2017.json"
    )
    spec = f"coco:path={tmp_path},splits=official"
    status, out, _ = shell("data", "check", spec, "--no-images")
    assert (status, out.splitlines()[1].split()) == (
        0,
        ["val", "5,000", "25,014", "5,", "5.00,", "7"],
    )
    words = ["--format", "karpathy", "--images", "none", "--out", tmp_path / "out"]
    assert shell("data", "export", spec, *words)[0] == 0
    old, new = (
        [
            (e.image.id, e.references)
            for e in default_registry().parse(DatasetConfig, each).build().examples("val")
        ]
        for each in (spec, f"karpathy:path={tmp_path}/out")
    )
    assert old == new


def test_images_that_look_alike(tmp_path: Path, shell: Shell) -> None:
    images = tmp_path / "images"
    for seed in range(12):
        picture(images / f"{seed}.png", seed)
    picture(images / "large.jpg", 0, (200, 160))
    with Image.open(images / "1.png") as image:
        image.point(lambda value: value // 2 + 40).save(images / "pale.png")
    names = sorted(path.name for path in images.iterdir())
    splits = {"large.jpg": "test"}
    spec = write_lines(tmp_path, *((n, splits.get(n, "train"), [f"Of {n}."]) for n in names))
    status, out, _ = shell("data", "check", spec, "--near-duplicates", "--json")
    result = json.loads(out)
    method = "difference hash of 64 bits (Krawetz 2013)"
    assert result["near"] == {"method": method, "most_bits": 4, "pairs": 2}
    assert [each["images"] for each in result["hints"]["near_duplicates"]] == [
        [["train", "0.png"], ["test", "large.jpg"]],  # what is in two splits comes first
        [["train", "1.png"], ["train", "pale.png"]],
    ]
    assert status == 0  # they may be pictures of their own
    out = shell("data", "check", spec, "--near-duplicates")[1]
    assert f"hint: near duplicates: 2 ({method}, at most 4 bits apart)" in out
    spec = write_lines(tmp_path, *((f"{i}.png", "train", [f"Of {i}."]) for i in range(12)))
    assert "no near duplicates (diff" in shell("data", "check", spec, "--near-duplicates")[1]


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 40), max_size=30), st.integers(0, 10))
def test_near_pairs_are_those_of_comparing_each_with_each(hashes: list[int], most: int) -> None:
    near._BLOCK, usual = 7, near._BLOCK  # several blocks
    try:
        total, pairs = near.near_pairs(hashes, most)
    finally:
        near._BLOCK = usual
    expected = {
        (bits, a, b)
        for a, b in combinations(range(len(hashes)), 2)
        if (bits := (hashes[a] ^ hashes[b]).bit_count()) <= most
    }
    assert {(bits, *sorted(pair)) for bits, *pair in pairs} == expected
    assert total == len(pairs) == len(expected)


def test_the_bits_that_differ_are_counted_by_an_older_numpy_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hashes = [int(value) for value in np.random.default_rng(0).integers(0, 2**63, 40)]
    hashes += [value ^ 9 for value in hashes[:5]]
    newer = near.near_pairs(hashes, 10)
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    assert near.near_pairs(hashes, 10) == newer
    assert newer[0] >= 5


def test_more_pairs_than_are_listed_are_counted() -> None:
    total, pairs = near.near_pairs([7] * 300 + [6], 1)
    assert (total, len(pairs)) == (300 * 299 // 2 + 300, near.MOST_PAIRS)
    assert near.near_pairs([], 4) == (0, [])


def test_show_prints_a_sample_that_depends_on_its_seed_alone(messy: str, shell: Shell) -> None:
    spec = "scenes:train=30,val=5,test=5"
    words = ["data", "show", spec, "--split", "test,val", "--count", "4", "--json"]
    status, out, _ = shell(*words)
    result = json.loads(out)
    assert (status, result["splits"]) == (0, {"train": 30, "val": 5, "test": 5})
    dataset = default_registry().parse(DatasetConfig, spec).build()
    known = {e.image.id: list(e.references) for s in ("test", "val") for e in dataset.examples(s)}
    assert len(result["images"]) == 4
    for image in result["images"]:
        assert image["captions"] == known[image["id"]]
        assert (image["size"], image["file"], image["error"]) == ([192, 192], None, None)
    assert shell(*words)[1] == out
    assert shell(*words, "--seed", "1")[1] != out
    folder = Path(messy.partition("=")[2])
    spec = write_lines(
        folder, ("a.png", "train", ["A cat."]), ("note.png", "train", ["A\x1b text."])
    )
    np.save(folder / "features.npy", np.zeros((2, 3, 4)))
    _, out, _ = shell("data", "show", spec)
    assert out == (
        f"train: a.png, 48 x 36 pixels, embedding of shape (3, 4), {folder}/images/a.png\n"
        "  A cat.\n"
        f"train: note.png, embedding of shape (3, 4), {folder}/images/note.png\n"
        f"  error: {folder}/images/note.png: the image cannot be read: its content is of no known "
        "image format\n"
        "  A\\x1b text.\n"
    )
