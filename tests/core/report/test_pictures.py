"""Pictures that cannot be read leave a gap; they never end a study or its report."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.dataset import Example, ImageItem
from prefixcap.report.gallery import thumbnail
from prefixcap.study.analysis.contact_sheet import draw, load_picture
from prefixcap.study.analysis.reader import CaptionedImage, SavedStudy

NOISE = Image.effect_noise((80, 60), 90).convert("RGB")


def truncated(path: Path) -> Path:
    buffer = BytesIO()
    NOISE.save(buffer, "JPEG")
    path.write_bytes(buffer.getvalue()[:900])
    return path


def turned(path: Path) -> Path:
    """A photograph that a camera marked as lying on its side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    NOISE.save(path, exif=exif)
    return path


def refuses() -> Image.Image:
    raise PrefixcapError("the image is not there")


def study(folder: Path, *paths: Path) -> SavedStudy:
    lines = [{"image": p.name, "split": "test", "captions": ["A dog."]} for p in paths]
    (folder / "captions.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    images = [CaptionedImage(id=p.name, references=("A dog.",)) for p in paths]
    rest = {"rows": [], "baselines": [], "cells": {}, "skipped": [], "complete": True}
    config = {"dataset": {"name": "jsonl", "path": str(folder)}}
    return SavedStudy(folder=folder, config=config, images=images, **rest)  # type: ignore[arg-type]


def test_a_study_has_no_picture_of_a_file_that_is_truncated_or_missing(tmp_path: Path) -> None:
    (folder := tmp_path / "images").mkdir()
    good, bad, gone = turned(folder / "a.jpg"), truncated(folder / "b.jpg"), folder / "c.jpg"
    NOISE.save(gone)
    result = study(tmp_path, good, bad, gone)
    picture = result.picture("a.jpg")
    gone.unlink()
    assert picture is not None
    assert (picture.mode, picture.size) == ("RGB", (60, 80))
    assert result.picture("b.jpg") is None
    assert result.picture("c.jpg") is None


@pytest.mark.parametrize(
    "error",
    [OSError(), SyntaxError(), ValueError(), PrefixcapError(), Image.DecompressionBombError()],
)
def test_any_error_of_an_opener_gives_no_picture(error: Exception) -> None:
    def opener() -> Image.Image:
        raise error

    assert load_picture(opener) is None


def test_files_are_closed(tmp_path: Path) -> None:
    opened: list[Image.Image] = []

    def opener() -> Image.Image:
        opened.append(Image.open(path))
        return opened[-1]

    for path in (truncated(tmp_path / "bad.jpg"), turned(tmp_path / "good.jpg")):
        assert (load_picture(opener) is None) is (path.name == "bad.jpg")
        assert getattr(opened[-1], "fp", None) is None


def test_a_thumbnail_does_not_change_its_picture() -> None:
    large = NOISE.resize((800, 600))
    source, size = thumbnail(large)
    assert source.startswith("data:image/webp;base64,")
    assert size == (288, 216)
    assert large.size == (800, 600)


def grid(path: Path, *openers: Callable[[], Image.Image], text: str = "A caption.") -> bool:
    examples = [
        Example(image=ImageItem(id=str(n), index=n, open=opener), references=(text,))
        for n, opener in enumerate(openers)
    ]
    captions = {"cell": [{"captions": [{"text": text}]} for _ in examples]}
    return draw(path, examples, captions, {"cell": "greedy"})


def test_the_grid_omits_unreadable_images(tmp_path: Path) -> None:
    bad = truncated(tmp_path / "bad.jpg")
    with_gaps, without = tmp_path / "with.png", tmp_path / "without.png"
    assert grid(with_gaps, lambda: NOISE.copy(), lambda: Image.open(bad), refuses)
    assert grid(without, lambda: NOISE.copy())
    assert with_gaps.read_bytes() == without.read_bytes()
    assert not grid(tmp_path / "none.png", refuses)
    assert not (tmp_path / "none.png").exists()


@pytest.mark.parametrize("text", ["a dog " * 200_000, "x" * 1_000_000, "犬" * 1_000_000])
def test_a_caption_of_a_million_characters_is_drawn_in_part(text: str, tmp_path: Path) -> None:
    assert grid(tmp_path / "grid.png", lambda: NOISE.copy(), text=text)
    with Image.open(tmp_path / "grid.png") as drawn:
        assert drawn.width < 400
        assert drawn.height < 1500
