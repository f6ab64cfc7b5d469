"""The data sets `csv` and `tsv`."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import prefixcap_datasets.configs as datasets
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.dataset import Dataset, DatasetConfig
from prefixcap.plugin.registry import default_registry


def opened(spec: str) -> Dataset:
    return default_registry().parse(DatasetConfig, spec).build()


def captions(dataset: Dataset) -> dict[str, dict[str, tuple[str, ...]]]:
    return {
        split: {e.image.id: e.references for e in dataset.examples(split)}
        for split in dataset.splits
    }


def test_one_row_per_caption(tmp_path: Path) -> None:
    text = (
        'image,caption,split\na.jpg,"A dog, a cat",train\nb.jpg,B,Test\na.jpg,"two\nlines",train\n'
    )
    path = tmp_path / "captions.csv"
    path.write_text("\ufeff" + text, newline="\r\n")
    expected = {"train": {"a.jpg": ("A dog, a cat", "two\nlines")}, "Test": {"b.jpg": ("B",)}}
    for spec in (f"csv:path={path}", f"csv:path={tmp_path}", f"csv:path={path},separator=comma"):
        found = captions(opened(spec))
        found["train"]["a.jpg"] = tuple(t.replace("\r\n", "\n") for t in found["train"]["a.jpg"])
        assert found == expected
    assert list(captions(opened(f"csv:path={path},splits=0/0/1"))) == ["test"]
    assert [e.image.id for e in opened(f"csv:path={path}").examples("test")] == ["b.jpg"]


def test_several_captions_in_a_row(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("file;one;c_1;c_2\na.jpg;x;A dog;\nb.jpg;y;A cat;Two cats\n")
    spec = f"csv:path={path},separator=semicolon,image=file"
    assert captions(opened(f"{spec},caption=c_*"))["all"] == {
        "a.jpg": ("A dog",),
        "b.jpg": ("A cat", "Two cats"),
    }
    assert captions(opened(f"{spec},caption=one+c_1"))["all"]["b.jpg"] == ("y", "A cat")
    path.write_text("image,caption\na.jpg,A dog | A cat |\n")
    assert captions(opened(f"csv:path={path},between=|"))["all"] == {"a.jpg": ("A dog", "A cat")}


def test_captions_in_json_as_in_the_table_of_flickr30k_on_the_hub(tmp_path: Path) -> None:
    raw = ['Two "young" guys, outside.', "Two men."]
    row = [json.dumps(raw), "[0, 1]", "train", "1000092795.jpg", "0"]
    with (tmp_path / "flickr_annotations_30k.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["raw", "sentids", "split", "filename", "img_id"], row])
    dataset = opened(f"csv:path={tmp_path},image=filename,caption=raw")
    assert captions(dataset) == {"train": {"1000092795.jpg": tuple(raw)}}


def test_metadata_of_an_image_folder_in_json_lines(tmp_path: Path) -> None:
    lines = [
        {"file_name": "train/0001.png", "text": "A dog.", "width": 5},
        {"file_name": "train/0002.png", "text": ["A cat.", "[Two] cats."], "extra": None},
        {"file_name": "train/0001.png", "text": "The dog."},
    ]
    path = tmp_path / "metadata.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "train").mkdir()
    Image.new("RGB", (3, 4)).save(tmp_path / "train" / "0001.png")
    dataset = opened(f"csv:path={tmp_path},image=file_name,caption=text")
    assert captions(dataset)["all"] == {
        "train/0001.png": ("A dog.", "The dog."),
        "train/0002.png": ("A cat.", "[Two] cats."),
    }
    image = dataset.examples("all")[0].image
    assert image.open is not None
    assert image.open().size == (3, 4)
    path.write_text("[1]")
    with pytest.raises(PrefixcapError, match=r"metadata\.jsonl, line 1: a list, not an object"):
        opened(f"csv:path={path}")
    path.write_text('{"image": "a", "caption": ["x", 5]}')
    with pytest.raises(PrefixcapError, match=r"""line 1: '\["x", 5\]' is no list of captions"""):
        opened(f"csv:path={path}")


@pytest.mark.parametrize(("name", "kind"), [("a.tsv", "csv"), ("a.txt", "tsv")])
def test_tabs(tmp_path: Path, name: str, kind: str) -> None:
    (tmp_path / name).write_text('caption\timage\n"A, ""b"""\ta.jpg\n')
    assert captions(opened(f"{kind}:path={tmp_path / name}"))["all"] == {"a.jpg": ('A, "b"',)}


@pytest.mark.parametrize(
    ("folder", "written"),
    [("images", "a.jpg"), (".", "a.jpg"), (".", "deep/a.jpg"), ("Images", "x/a.jpg")],
)
def test_images_are_found(tmp_path: Path, folder: str, written: str) -> None:
    file = tmp_path / folder / written
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (3, 4)).save(file)
    (tmp_path / "images").mkdir(exist_ok=True)
    (tmp_path / "a.csv").write_text(f"image,caption\n{written},A\n")
    image = opened(f"csv:path={tmp_path}").examples("all")[0].image
    assert image.open is not None
    assert image.open().size == (3, 4)


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("", "", "the table TABLE is empty"),
        ("image,caption\n", "", "TABLE: the data set has no image"),
        ("image,caption,image\n", "", "TABLE: the header names the column 'image' twice"),
        ("img,caption\na,b\n", "", "TABLE, line 2: no column 'image'; did you mean 'img'?"),
        ("image,text\na,b\n", "", "TABLE, line 2: no column 'caption'; known: image, text"),
        ("image,caption\na,b\n", ",split=part", "TABLE, line 2: no column 'part'"),
        ("image,caption\na,b\nc,d,e\n", "", "TABLE, line 3: 3 cells, but the header has 2"),
        ("image,caption\n ,b\n", "", "TABLE, line 2: the column 'image' is empty"),
        ("image,caption,split\na,b,\n", "", "TABLE, line 2: the column 'split' is empty"),
        (
            "image,caption,split\na,b,train\na,c,test\n",
            "",
            "TABLE, line 3: the image 'a' is in the split 'test', but in 'train' in TABLE, line 2",
        ),
        (
            "image,caption\na,b\nc,\n",
            "",
            "TABLE, line 3: the image 'c' has no captions, but others of its split have some",
        ),
        ("image,caption\na,\"['b']\"\n", "", "is no list of captions in JSON: "),
        ('image,caption\na,"b\n', "", "TABLE, line 2: not a table: unexpected end of data"),
        ("image,caption\na," + "b" * 200_000, "", "TABLE, line 2: not a table: field larger than"),
        (
            "image,caption\n../../a,b\n",
            "",
            "TABLE, line 2: '../../a' leads out of the data set's folder",
        ),
        ("image,caption\n" + "a" * 5000 + ",b\n", "", "is no file name: File name too long"),
        ("image,caption\na\0,b\n", "", "TABLE cannot be read as text: it has a NUL byte in line 2"),
        ("image,caption\na,b\n", ",separator=||", "separator must be one character or tab, comma"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, settings: str, message: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(PrefixcapError) as caught:
        opened(f"csv:path={path}{settings}")
    assert message.replace("TABLE", str(path)) in str(caught.value)


def test_a_folder_has_one_table(tmp_path: Path) -> None:
    with pytest.raises(PrefixcapError, match="has no table: give the path of one"):
        opened(f"csv:path={tmp_path}")
    for name in ("a.csv", "b.tsv"):
        (tmp_path / name).write_text("")
    with pytest.raises(PrefixcapError, match=r"has several tables \(a.csv, b.tsv\): give the path"):
        opened(f"csv:path={tmp_path}")


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=9)


@given(st.lists(st.tuples(st.integers(0, 3), CELLS), min_size=1, max_size=6))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_python_writes_is_read(tmp_path: Path, rows: list[tuple[int, str]]) -> None:
    rows = [(number, text) for number, text in rows if text.strip() and text.strip()[0] != "["]
    expected: dict[str, tuple[str, ...]] = {}
    for number, text in rows:
        expected[f"{number}.jpg"] = (*expected.get(f"{number}.jpg", ()), text.strip())
    path = tmp_path / "table.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image", "caption"), *((f"{n}.jpg", t) for n, t in rows)])
    if not rows:
        return
    dataset: Any = datasets.Csv(path=str(path)).build()
    assert captions(dataset)["all"] == expected
