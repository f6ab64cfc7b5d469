"""The data set `images`: images without captions."""

from __future__ import annotations

import os
from pathlib import Path

import prefixcap_datasets.configs as datasets
import pytest
from PIL import Image

from prefixcap.cli import main
from prefixcap.errors import PrefixcapError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for i, name in enumerate(("b.png", "a/b.jpeg", "a/c.PNG", ".hidden.png", "note.txt")):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (3 + i, 4)).save(path, "PNG")
    return tmp_path / "photos"


def test_images_of_a_folder_and_its_folders(root: Path) -> None:
    dataset = datasets.Images(path=str(root)).build()
    assert dataset.splits == ("all",)
    images = [example.image for example in dataset.examples("all")]
    assert {image.id: image.index for image in images} == {"b.png": 0, "a/b.jpeg": 1, "a/c.PNG": 2}
    assert images[1].open is not None
    assert images[1].open().size == (4, 4)
    assert all(example.references == () for example in dataset.examples("all"))
    before = dataset.digest()
    Image.new("RGB", (9, 9)).save(root / "b.png")
    assert datasets.Images(path=str(root)).build().digest() != before


def test_links_out_of_the_folder_are_refused_unless_allowed(root: Path) -> None:
    (root.parent / "outside.png").write_bytes((root / "b.png").read_bytes())
    (root / "link.png").symlink_to(root.parent / "outside.png")
    with pytest.raises(PrefixcapError, match=r"'link\.png' leads out of the data set's folder"):
        datasets.Images(path=str(root)).build()
    allowed = datasets.Images(path=str(root), allow_outside=True).build()
    assert len(allowed.examples("all")) == 4


def test_folders_without_images_and_odd_names_are_errors(root: Path) -> None:
    (root.parent / "empty").mkdir()
    with pytest.raises(PrefixcapError, match="the folder has no image file"):
        datasets.Images(path=str(root.parent / "empty")).build()
    with pytest.raises(PrefixcapError, match="nowhere, does not exist"):
        datasets.Images(path=str(root / "nowhere")).build()
    (root / "b.png").rename(os.fsdecode(os.fsencode(root) + b"/\xff.png"))
    with pytest.raises(PrefixcapError, match=r"'\\udcff\.png' is not in UTF-8: rename the file"):
        datasets.Images(path=str(root)).build()


def test_a_study_without_captions_or_splits_is_an_error(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["bench", "--encoder", "scenes-clip", "--lm", "scenes-gpt2", "--out", str(root / "o")]
    assert main([*command, "--dataset", f"images:path={root}"]) == 2
    error = capsys.readouterr().err
    assert "has no split 'train'; known: all; the setting splits=0.8/0.1/0.1" in error
    # these three images fall into all three splits
    assert main([*command, "--dataset", f"images:path={root},splits=1/1/1"]) == 2
    assert "has images without captions, such as " in capsys.readouterr().err
