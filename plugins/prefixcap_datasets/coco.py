"""The data set `coco`: the files of COCO 2014 or 2017 as downloaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from prefixcap.errors import PrefixcapError, shown
from prefixcap_datasets.entries import Entry, Pictures, Source, assemble
from prefixcap_datasets.formats.json_entries import get, load_object, places, text
from prefixcap_datasets.image_files import FileDataset, existing_folder, is_folder
from prefixcap_datasets.karpathy import split_lines
from prefixcap_datasets.problems import REPEATED, WITHOUT_CAPTIONS, problem, stripped

SPLIT_FILE = "dataset_coco.json"
YEARS, PARTS = (2014, 2017), ("train", "val")


@attrs.frozen
class Photo:
    """An image of COCO: its position, number, file and its folder, split, and its place."""

    index: int
    number: int
    folder: str
    file: str
    split: str
    place: str


def read_coco(source: Source, year: int | None, restval: str) -> FileDataset:
    """Open the data set; see `Coco` for the arguments.

    Raises:
        PrefixcapError: If a folder or file is missing or not in COCO's format, an image appears
            twice or has no captions, or its file is outside the folder.
    """
    root = existing_folder(source.path, "the coco data set")
    split_file = _split_file(root) if source.splits == "karpathy" else None
    captions: dict[int, list[str]] = {}
    photos: list[Photo] = []
    year, files = _annotations(root, year, needs_all=split_file is not None)
    for part, file in files.items():
        data = load_object(file, "COCO", ("images", "annotations"))
        photos += _photos(data["images"], part, f"{part}{year}", len(photos), file)
        _collect_captions(data["annotations"], captions, file)
    if split_file is not None:
        official = {photo.number: photo for photo in photos} if year != 2014 else {}
        photos = list(_karpathy_photos(split_file, restval, official))
    return assemble(source, root, _entries(source, root, photos, captions))


def _annotations(root: Path, year: int | None, *, needs_all: bool) -> tuple[int, dict[str, Path]]:
    """Return the year and its files of captions by part, which need not exist if all are needed."""
    found = {
        each: {
            part: next(filter(Path.is_file, places_), places_[0])
            for part in PARTS
            for places_ in [_places(root, f"captions_{part}{each}.json")]
        }
        for each in YEARS
    }
    there = [each for each, files in found.items() if any(map(Path.is_file, files.values()))]
    if year is None and len(there) > 1:
        raise PrefixcapError(f"{root} has the annotations of 2014 and 2017: choose year=2017")
    year = year or (there or YEARS)[0]
    files = {part: file for part, file in found[year].items() if needs_all or file.is_file()}
    if not files:
        names = " nor ".join(str(file) for file in found[year].values())
        raise PrefixcapError(f"COCO's captions are missing: neither {names} exists")
    return year, files


def _places(root: Path, name: str) -> tuple[Path, Path]:
    return root / "annotations" / name, root / name


def _split_file(root: Path) -> Path:
    within, beside = _places(root, SPLIT_FILE)
    for path in filter(Path.is_file, (beside, within)):
        return path
    raise PrefixcapError(
        f"Karpathy's split file is missing: neither {beside} nor {within} exists; splits=official "
        "does not need it"
    )


def _entries(
    source: Source, root: Path, photos: list[Photo], captions: Mapping[int, list[str]]
) -> Iterator[Entry]:
    folders = {
        name: next(filter(is_folder, (root / name, root / "images" / name)), root / name)
        for name in dict.fromkeys(photo.folder for photo in photos)
    }
    pictures = Pictures(source, root, *folders.values())
    numbers: dict[int, Photo] = {}
    for photo in photos:
        other = numbers.setdefault(photo.number, photo)
        if other is not photo:
            sentence = (
                f"{photo.place}: the image {shown(photo.file)} ({photo.number}) already appears "
                f"in {other.place}: keep one entry with all its captions"
            )
            problem(REPEATED, photo.file, sentence)
        if photo.number not in captions:
            sentence = (
                f"{photo.place}: the annotations have no captions of the image "
                f"{shown(photo.file)} ({photo.number}), which is in the split {shown(photo.split)}"
            )
            problem(WITHOUT_CAPTIONS, photo.file, sentence)
        yield Entry(
            image=pictures.item(photo.file, photo.index, folders[photo.folder], photo.place),
            captions=captions.get(photo.number, ()),
            split=photo.split,
            place=photo.place,
        )


def _photos(images: list[Any], part: str, folder: str, start: int, path: Path) -> Iterator[Photo]:
    for index, (place, image) in enumerate(places(images, path, "image"), start):
        number, file = get(image, "id", int, place), text(image, "file_name", place)
        yield Photo(index, number, folder, file, part, place)


def _collect_captions(annotations: list[Any], captions: dict[int, list[str]], path: Path) -> None:
    for place, annotation in places(annotations, path, "annotation"):
        caption = stripped(get(annotation, "caption", str, place), place)
        number = get(annotation, "image_id", int, place)
        if caption:
            captions.setdefault(number, []).append(caption)


def _karpathy_photos(path: Path, restval: str, official: Mapping[int, Photo]) -> Iterator[Photo]:
    """Yield the images of Karpathy's file; their files are those of 2017 if these are given."""
    known = [f"{part}2014" for part in PARTS]
    for line in split_lines(path, restval):
        number = get(line.values, "cocoid", int, line.place)
        if line.folder not in known:
            raise PrefixcapError(
                f"{line.place}: 'filepath' is {shown(line.folder)}, neither {known[0]!r} nor "
                f"{known[1]!r}"
            )
        folder, file = line.folder, line.file
        if number in official:
            folder, file = official[number].folder, official[number].file
        yield Photo(line.index, number, folder, file, line.split, line.place)
