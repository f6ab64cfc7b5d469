from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import prefixcap_datasets.configs as datasets
import pytest
import torch
from PIL import Image
from prefixcap_datasets.image_files import ImageFiles
from safetensors.torch import save_file

from prefixcap.cli import main
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.dataset import DatasetConfig
from prefixcap.plugin.registry import default_registry

SPLITS = ("train", "test", "train")


def line(index: int, **changes: object) -> dict[str, object]:
    entry = {"image": f"{index}.png", "split": SPLITS[index], "captions": [f"thing {index} ", "x"]}
    return {**entry, **changes}


def write(folder: Path, *lines: object) -> None:
    texts = [entry if isinstance(entry, str) else json.dumps(entry) for entry in lines]
    (folder / "captions.jsonl").write_text("\n".join(texts) + "\n", encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, *(line(i) for i in range(3)))
    np.save(tmp_path / "features.npy", np.arange(12, dtype=np.float16).reshape(3, 4))
    (tmp_path / "images").mkdir()
    for i in range(3):
        Image.new("RGBA", (2 + i, 3), (i, 9, 9, 99)).save(tmp_path / "images" / f"{i}.png")
    return tmp_path


def config(folder: Path, **settings: Any) -> datasets.Jsonl:
    return datasets.Jsonl(path=str(folder), **settings)


def sentence(folder: Path, **settings: Any) -> str:
    with pytest.raises(PrefixcapError) as caught:
        config(folder, **settings).build()
    return str(caught.value)


def test_lines_become_examples_with_their_row_and_image(folder: Path) -> None:
    dataset = config(folder).build()
    assert dataset.splits == ("train", "test")
    first, second = dataset.examples("train")
    assert (first.image.id, second.image.id) == ("0.png", "2.png")
    assert second.references == ("thing 2", "x")
    assert second.image.index == 2
    assert second.image.embedding is not None
    row = second.image.embedding()
    assert row.dtype == np.float32
    assert row.tolist() == [8, 9, 10, 11]
    assert second.image.open is not None
    assert (second.image.open().size, second.image.open().mode) == ((4, 3), "RGB")


def test_real_clip_features(shared: Path) -> None:
    dataset = config(shared / "data" / "flickr8k_clip").build()
    assert {s: len(dataset.examples(s)) for s in dataset.splits} == {
        "train": 700,
        "val": 100,
        "test": 100,
    }
    for example in dataset.examples("test")[:5]:
        assert len(example.references) == 5
        assert example.image.embedding is not None
        assert np.linalg.norm(example.image.embedding()) == pytest.approx(1, abs=1e-3)
        assert example.image.open is not None
        assert example.image.open().size == (224, 224)


def test_the_recommended_encoder_depends_on_embeddings(folder: Path) -> None:
    assert config(folder).recommended == {"encoder": "precomputed"}
    (folder / "features.npy").unlink()
    assert config(folder).recommended == {"encoder": "clip"}
    assert config(folder).build().examples("test")[0].image.embedding is None


def test_images_are_optional_with_embeddings(folder: Path) -> None:
    image = config(folder, images="elsewhere").build().examples("test")[0].image
    assert (image.path, image.open) == (None, None)


def test_embeddings_in_bfloat16_with_tokens(folder: Path) -> None:
    (folder / "features.npy").unlink()
    features = torch.arange(24.0).reshape(3, 2, 4).bfloat16()
    save_file({"features": features}, folder / "features.safetensors")
    reader = config(folder).build().examples("test")[0].image.embedding
    assert reader is not None
    assert reader().tolist() == features[1].tolist()


def test_the_digest_depends_on_everything_in_the_data_set(folder: Path) -> None:
    digest = config(folder).build().digest()
    assert config(folder).build().digest() == digest
    result = {digest}
    np.save(folder / "features.npy", np.zeros((3, 4), np.float16))
    result.add(config(folder).build().digest())
    write(folder, line(0, captions=["another"]), line(1), line(2))
    result.add(config(folder).build().digest())
    Image.new("RGB", (9, 9), "blue").save(folder / "images" / "1.png")
    result.add(config(folder).build().digest())
    assert len(result) == 4
    os.utime(folder / "images" / "1.png", ns=(1, 1))
    assert config(folder).build().digest() in result


def test_an_images_digest_depends_on_its_file_and_embedding(folder: Path) -> None:
    def digests() -> list[str]:
        examples = config(folder).build().examples
        return [e.image.digest() for split in ("train", "test") for e in examples(split)]

    before = digests()
    assert len(set(before)) == len(before) == 3
    Image.new("RGB", (9, 9), "blue").save(folder / "images" / "1.png")
    assert [a == b for a, b in zip(before, digests(), strict=True)] == [True, True, False]
    before = digests()
    rows = np.load(folder / "features.npy")
    rows[2] += 1
    np.save(folder / "features.npy", rows)
    assert [a == b for a, b in zip(before, digests(), strict=True)] == [True, False, True]


def test_large_image_sets_are_hashed_by_size_and_time(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"one")

    def small() -> str:
        return ImageFiles([file]).digest(file)

    def large() -> str:
        return ImageFiles([file], max_bytes=2).digest(file)

    contents, states = small(), large()
    os.utime(file, ns=(1, 1))
    assert (small() == contents, large() == states) == (True, False)
    states = large()
    file.write_bytes(b"two")
    assert (small() == contents, large() == states) == (False, False)
    file.unlink()
    assert small() == "missing"


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("{nonsense", "line 2: not JSON: Expecting property name"),
        ("[1]", "line 2: a list, not an object with 'image', 'split', 'captions'"),
        ({"image": "1.png", "splitt": "test", "captions": ["x"]}, "line 2: no 'split'; did you"),
        (line(1, captions="a dog"), "line 2: 'captions' must be a list of strings, not 'a dog'"),
        (line(1, captions=[]), "line 2: 'captions' must be a list of strings, not []"),
        (line(1, captions=["a", 5]), "line 2: 'captions' must be a string, not 5"),
        (line(1, captions=[" "]), "line 2: 'captions' has an empty string"),
        (line(1, captions=["a dog \ud83d"]), "line 2: not JSON: a text contains half a char"),
        ("[" * 100_000, "line 2: not JSON: lists or objects are nested more than 100 deep"),
        ('{"image": ' + "9" * 5000 + "}", "line 2: not JSON: a number has more than 4300 digits"),
        ('{"image": "1.png", "image": "2.png"}', "line 2: not JSON: the key 'image' appears twice"),
        (line(1, captions=[True]), "line 2: 'captions' must be a string, not True"),
        (line(1, captions=[["a"]]), "line 2: 'captions' must be a string, not ['a']"),
        (line(1, captions={"a": 1}), "line 2: 'captions' must be a list of strings, not {'a': 1}"),
        (line(1, captions=list(range(10**5))), "line 2: 'captions' must be a string, not 0"),
        (line(1, image=None), "line 2: 'image' must be a string, not None"),
        (line(1, image="\0"), "line 2: '\\x00' is no file name"),
        (line(1, split="\t"), "line 2: 'split' has an empty string"),
        ("null", "line 2: a NoneType, not an object"),
        (line(1, image=7), "line 2: 'image' must be a string, not 7"),
        (line(1, split=None), "line 2: 'split' must be a string, not None"),
        (line(1, image="0.png"), "line 2: the image '0.png' already appears in line 1"),
        ("", "line 2: not JSON"),
    ],
)
def test_a_broken_line_is_an_error_with_its_number(
    folder: Path, second: object, message: str
) -> None:
    write(folder, line(0), second, line(2))
    assert f"captions.jsonl, {message}" in sentence(folder)


def test_a_line_that_is_not_text_is_an_error(folder: Path) -> None:
    (folder / "captions.jsonl").write_bytes(json.dumps(line(0)).encode() + b"\n\xff\xfe\n")
    assert "line 2: not JSON: it is in UTF-16" in sentence(folder)
    text = json.dumps(line(0, captions=["caf\u00e9"]), ensure_ascii=False)
    (folder / "captions.jsonl").write_bytes(text.encode("latin-1"))
    assert "line 1: not JSON: the byte 0xe9 is not UTF-8" in sentence(folder)
    (folder / "captions.jsonl").write_bytes(text.encode("utf-16"))
    assert "line 1: not JSON: it is in UTF-16: save it in UTF-8" in sentence(folder)


def test_lines_as_windows_writes_them(folder: Path) -> None:
    expected = config(folder).build().examples("train")
    text = (folder / "captions.jsonl").read_text()
    (folder / "captions.jsonl").write_text("\ufeff" + text + "\n\n", "utf-8", newline="\r\n")
    assert config(folder).build().examples("train") == expected


@pytest.mark.parametrize(
    "name", ["../../2.png", "a/../../../2.png", "/etc/hostname", "a.png", "sub/2.png"]
)
def test_images_outside_the_folder_are_refused_unless_allowed(folder: Path, name: str) -> None:
    outside = folder.parent / "2.png"
    outside.write_bytes((folder / "images" / "2.png").read_bytes())
    (folder / "images" / "a.png").symlink_to(outside)
    (folder / "images" / "sub").symlink_to(folder.parent)
    write(folder, line(0), line(1, image=name), line(2))
    reason = f"captions.jsonl, line 2: {name!r} leads out of the data set's folder, to '/"
    assert reason in sentence(folder)
    assert "setting allow_outside=true allows it" in sentence(folder)
    dataset = default_registry().parse(DatasetConfig, f"jsonl:path={folder},allow_outside=true")
    assert dataset.build().examples("test")[0].image.id == name
    # a name of a row of embeddings is no path
    assert config(folder, images="none").build().examples("test")[0].image.id == name


def test_links_that_stay_inside_and_folders_that_are_links(folder: Path, tmp_path: Path) -> None:
    real = tmp_path / "elsewhere"
    (folder / "images").rename(real)
    (folder / "images").symlink_to(real)
    (real / "linked.png").symlink_to("1.png")
    (real / "deep").mkdir()
    (real / "1.png").rename(real / "deep" / "1.png")
    names = ["linked.png", "deep/1.png", "deep/../0.png", str(folder / "images" / "2.png")]
    (folder / "features.npy").unlink()
    for name in names:
        write(folder, line(0, image=name))
        config(folder).build()
    link = tmp_path / "link"
    link.symlink_to(folder)
    write(folder, line(0), line(2))
    assert len(config(link).build().examples("train")) == 2


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("validation", "val"),
        ("Val", "val"),
        ("VALID", "val"),
        ("dev", "val"),
        ("val", "validation"),
        ("Training", "train"),
        ("testing", "test"),
        ("TEST", "test"),
    ],
)
def test_a_split_is_found_by_its_meaning(folder: Path, name: str, asked: str) -> None:
    (folder / "features.npy").unlink()
    write(folder, line(0, split="other"), line(1, split=name))
    dataset = config(folder).build()
    assert dataset.splits == ("other", name)
    assert [example.image.id for example in dataset.examples(asked)] == ["1.png"]


def test_the_exact_name_of_a_split_comes_first(folder: Path) -> None:
    write(folder, line(0, split="dev"), line(1, split="val"), line(2, split="validation"))
    dataset = config(folder).build()
    assert [example.image.id for example in dataset.examples("val")] == ["1.png"]
    write(folder, line(0, split="dev"), line(1, split="train"), line(2, split="validation"))
    with pytest.raises(PrefixcapError, match="'val' may be any of 'dev', 'validation': rename one"):
        config(folder).build().examples("val")


def test_missing_files_are_errors(folder: Path) -> None:
    assert "x, does not exist" in sentence(folder / "x")
    assert "captions.jsonl, is not a folder" in sentence(folder / "captions.jsonl")
    assert "caption file" in sentence(folder, captions="no.jsonl")
    assert "no.npy does not exist" in sentence(folder, embeddings="no.npy")
    assert "must be a .npy or .safetensors file" in sentence(folder, embeddings="captions.jsonl")
    (folder / "captions.jsonl").write_text("\n")
    assert "captions.jsonl is empty" in sentence(folder)
    (folder / "features.npy").unlink()
    write(folder, line(0))
    assert "neither the folder 'pictures' nor embeddings" in sentence(folder, images="pictures")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 4)), "has 2 rows, but .* has 3 lines"),
        (np.zeros(3), r"must be of shape \(B,D\) or \(B,N,D\), not \(3,\)"),
        (np.zeros((3, 0)), r"must be of shape .*, not \(3, 0\)"),
        (np.array([["a"], ["b"], ["c"]]), "must be numbers, not 'str32'"),
        (np.array([[{}], [1], [2]]), "cannot be read as features: .*Python objects"),
    ],
)
def test_embeddings_that_do_not_fit_are_errors(
    folder: Path, array: np.ndarray, message: str
) -> None:
    np.save(folder / "features.npy", array)
    with pytest.raises(PrefixcapError, match=message):
        config(folder).build()


def test_broken_embeddings_are_errors(folder: Path) -> None:
    (folder / "features.npy").write_bytes(b"\x93NUMPY")
    assert "features.npy: cannot be read" in sentence(folder)
    (folder / "features.safetensors").write_bytes(b"x" * 20)
    assert "more than one embedding file (features.npy, features.s" in sentence(folder)
    assert "features.safetensors: features must be a .npy or .safetensors" in sentence(
        folder, embeddings="features.safetensors"
    )
    save_file({"a": torch.zeros(3, 1), "b": torch.zeros(1)}, folder / "features.safetensors")
    assert (
        "has 2 tensors (a, b), not one; the encoder 'precomputed' takes one of several by its"
        in sentence(folder, embeddings="features.safetensors")
    )


def test_embeddings_may_be_a_store_whose_rows_are_found_by_their_images(folder: Path) -> None:
    words = ["--dataset", f"jsonl:path={folder}", "--encoder", "precomputed"]
    assert main(["features", *words, "--out", str(folder / "store")]) == 0
    before = {e.image.id: e.image.embedding for e in config(folder).build().examples("train")}
    write(folder, line(2), line(0))  # in another order, and without one of the images
    stored = config(folder, embeddings="store").build()
    assert config(folder, embeddings="store").recommended == {"encoder": "precomputed"}
    for example in stored.examples("train"):
        own, other = example.image.embedding, before[example.image.id]
        assert own is not None
        assert other is not None
        np.testing.assert_array_equal(own(), other())
    write(folder, line(0, image="9.png"))
    assert "no row belongs to the image '9.png'" in sentence(folder, embeddings="store")
    assert "images is not a store of features" in sentence(folder, embeddings="images")


def test_values_that_are_not_finite_are_errors_when_read(folder: Path) -> None:
    np.save(folder / "features.npy", np.array([[0.0], [np.nan], [0.0]]))
    reader = config(folder).build().examples("test")[0].image.embedding
    assert reader is not None
    with pytest.raises(PrefixcapError, match="row 1 has values that are not finite"):
        reader()


def test_unreadable_images_are_errors_with_their_path(folder: Path) -> None:
    opener = config(folder).build().examples("test")[0].image.open
    assert opener is not None
    (folder / "images" / "1.png").write_bytes(b"no image")
    with pytest.raises(
        PrefixcapError, match=r"1\.png: the image cannot be read: .* no known image"
    ):
        opener()
    (folder / "images" / "1.png").unlink()
    with pytest.raises(PrefixcapError, match=r"1\.png: the image does not exist"):
        opener()


def test_a_pipe_among_the_images_blocks_nothing(folder: Path) -> None:
    path = folder / "images" / "1.png"
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    dataset = config(folder).build()
    image = dataset.examples("test")[0].image
    assert image.digest is not None
    assert image.digest()
    assert dataset.digest()
    assert image.open is not None
    with pytest.raises(PrefixcapError, match=r"1\.png: the image cannot be read: it is a pipe"):
        image.open()


def test_the_error_for_an_unknown_split_names_the_nearest(folder: Path) -> None:
    with pytest.raises(PrefixcapError, match="no split 'tset'; did you mean 'test'"):
        config(folder).build().examples("tset")
