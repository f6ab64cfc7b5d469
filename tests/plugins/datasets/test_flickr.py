"""The data set `flickr`, on small copies of the files of Kaggle and of the authors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import prefixcap_datasets.configs as datasets
import pytest
from PIL import Image

from prefixcap.errors import PrefixcapError

KAGGLE_8K = """image,caption
1000268201_693b08cb0e.jpg,A child in a pink dress is climbing up a set of stairs in an entry way .
1000268201_693b08cb0e.jpg,"A little girl , who is small , climbs into her playhouse ."
1001773457_577c3a7d70.jpg,"Two dogs, ""friends"", on a street ."
1001773457_577c3a7d70.jpg,
1002674143_1b742ab4b8.jpg,A girl paints .
"""
# as on Kaggle: spaces around the bars, quotation marks that are text, one line without its bar
KAGGLE_30K = """image_name| comment_number| comment
1000092795.jpg| 0| Two young guys with shaggy hair look at their hands .
1000092795.jpg| 1| " Two men | one bush . "
2199200615.jpg| 3| A brown dog .
2199200615.jpg| 4   A dog runs across the grass .
"""
TOKEN_8K = (
    "1000268201_693b08cb0e.jpg#0\tA child in a pink dress .\n"
    "1000268201_693b08cb0e.jpg#1\tA girl # 1 .\n"
    "1001773457_577c3a7d70.jpg#0\tA black dog .\n"
    "1002674143_1b742ab4b8.jpg#0\tA girl paints .\n"
    # in the real file this image is named wrongly and in no list
    "2258277193_586949ec62.jpg.1#0\tpeople waiting for the subway\n"
)
LISTS = {
    "Flickr_8k.trainImages.txt": "1000268201_693b08cb0e.jpg\n",
    "Flickr_8k.devImages.txt": "1002674143_1b742ab4b8.jpg\r\n",
    "Flickr_8k.testImages.txt": "1001773457_577c3a7d70.jpg\n\n",
}


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8", newline="")


def captions(folder: Path, **settings: Any) -> dict[str, dict[str, tuple[str, ...]]]:
    dataset = datasets.Flickr(path=str(folder), **settings).build()
    return {
        split: {e.image.id: e.references for e in dataset.examples(split)}
        for split in dataset.splits
    }


def sentence(folder: Path, **settings: Any) -> str:
    with pytest.raises(PrefixcapError) as caught:
        datasets.Flickr(path=str(folder), **settings).build()
    return str(caught.value)


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_kaggles_captions(tmp_path: Path, line_end: str) -> None:
    write(tmp_path, {"captions.txt": KAGGLE_8K.replace("\n", line_end)})
    (tmp_path / "Images").mkdir()
    Image.new("RGB", (3, 4)).save(tmp_path / "Images" / "1001773457_577c3a7d70.jpg")
    found = captions(tmp_path)["all"]
    assert found["1000268201_693b08cb0e.jpg"][1] == (
        "A little girl , who is small , climbs into her playhouse ."
    )
    assert found["1001773457_577c3a7d70.jpg"] == ('Two dogs, "friends", on a street .',)
    assert list(found)[2] == "1002674143_1b742ab4b8.jpg"
    image = datasets.Flickr(path=str(tmp_path)).build().examples("all")[1].image
    assert image.open is not None
    assert image.open().size == (3, 4)


def test_results_of_flickr30k_with_its_broken_line(tmp_path: Path) -> None:
    write(tmp_path, {"results.csv": KAGGLE_30K})
    assert captions(tmp_path) == {
        "all": {
            "1000092795.jpg": (
                "Two young guys with shaggy hair look at their hands .",
                '" Two men | one bush . "',
            ),
            "2199200615.jpg": ("A brown dog .", "A dog runs across the grass ."),
        }
    }


def test_tokens_with_lists(tmp_path: Path) -> None:
    write(tmp_path, {"Flickr8k.token.txt": TOKEN_8K, "readme.txt": "x", **LISTS})
    found = captions(tmp_path)
    assert {split: list(images) for split, images in found.items()} == {
        "train": ["1000268201_693b08cb0e.jpg"],
        "test": ["1001773457_577c3a7d70.jpg"],
        "val": ["1002674143_1b742ab4b8.jpg"],
        "rest": ["2258277193_586949ec62.jpg.1"],
    }
    assert found["train"]["1000268201_693b08cb0e.jpg"][1] == "A girl # 1 ."
    assert set(captions(tmp_path, splits="1/0/0")) == {"train"}


def test_lists_of_numbers_beside_the_token_file_of_flickr30k(tmp_path: Path) -> None:
    write(tmp_path, {"results_20130124.token": "36979.jpg#0\tA group .\n16626.jpg#0\tA dog .\n"})
    write(tmp_path, {"train.txt": "36979\n", "flickr30k_test.txt": "16626.jpg"})
    assert captions(tmp_path) == {
        "train": {"36979.jpg": ("A group .",)},
        "test": {"16626.jpg": ("A dog .",)},
    }


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "has no caption file (captions.txt, Flickr8k.token.txt, results.csv"),
        (
            {"captions.txt": KAGGLE_8K, "results.csv": KAGGLE_30K},
            "more than one caption file (captions.txt, results.csv): name one, such as "
            "captions=captions.txt",
        ),
        ({"captions.txt": "file;text\n"}, "is in none of Flickr's formats: its first line is"),
        (
            {"captions.txt": KAGGLE_8K + "x.jpg,a,b\n"},
            "captions.txt, line 7: 3 cells, but the header has 2 (image, caption)",
        ),
        ({"captions.txt": KAGGLE_8K + 'x.jpg,"a'}, "captions.txt, line 7: not a table: unexpected"),
        ({"results.csv": KAGGLE_30K + "x.jpg\n"}, "results.csv, line 6: 'x.jpg' is no image, num"),
        ({"results.csv": KAGGLE_30K + "x.jpg| y\n"}, "results.csv, line 6: 'x.jpg| y' is no ima"),
        (
            {"Flickr8k.token.txt": TOKEN_8K + "x.jpg A dog\n"},
            "Flickr8k.token.txt, line 6: 'x.jpg A dog' is no image with '#0', a tab and a text",
        ),
        (
            {"Flickr8k.token.txt": TOKEN_8K, "train.txt": "5.jpg"},
            "train.txt, line 1: the image '5.jpg' has no captions",
        ),
        (
            {"Flickr8k.token.txt": TOKEN_8K, **LISTS, "val.txt": "1002674143_1b742ab4b8.jpg"},
            "val.txt, line 1: the image '1002674143_1b742ab4b8.jpg' already appears in",
        ),
        (
            {"captions.txt": "image,caption\n../../x.jpg,A dog\n"},
            "captions.txt, line 2: '../../x.jpg' leads out of the data set's folder",
        ),
        ({"captions.txt": "image,caption\n"}, "captions.txt: the data set has no image"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, files: dict[str, str], message: str) -> None:
    write(tmp_path, files)
    assert message in sentence(tmp_path)


def test_another_caption_file_may_be_named(tmp_path: Path) -> None:
    write(tmp_path, {"captions.txt": KAGGLE_8K, "lemmas.token.txt": "1.jpg#0\tdog\n"})
    assert captions(tmp_path, captions="lemmas.token.txt") == {"all": {"1.jpg": ("dog",)}}
    assert "no.txt does not exist" in sentence(tmp_path, captions="no.txt")
