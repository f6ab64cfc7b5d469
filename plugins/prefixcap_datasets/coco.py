"""The data set `coco`: COCO 2014's files as downloaded, in Karpathy's splits."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.dataset import Example, ImageItem
from prefixcap_datasets.image_files import (
    ImageFiles,
    SplitDataset,
    existing_folder,
    image_opener,
    whole,
)

if TYPE_CHECKING:
    from prefixcap_datasets.configs import Coco

SPLIT_FILE = "dataset_coco.json"
FOLDERS = {"train2014": "train", "val2014": "val"}

T = TypeVar("T", int, str)


@attrs.frozen
class Photo:
    """One image of COCO: its number, its file, and the split that a file says it is in."""

    number: int
    folder: str
    file: str
    split: str


def read(config: Coco) -> SplitDataset:
    """Opens the data set of a config.

    Raises:
        PrefixcapError: a folder or file is missing or not of COCO's format.
    """
    root = existing_folder(config.path, "the coco data set")
    annotations = {name: root / "annotations" / f"captions_{name}.json" for name in FOLDERS}
    files = list(annotations.values())
    captions: dict[int, list[str]] = {}
    photos: list[Photo] = []
    for name, path in annotations.items():
        data = _load(path, ("images", "annotations"))
        photos += _official(data["images"], name, path)
        _collect(data["annotations"], captions, path)
    if config.splits == "karpathy":
        files.append(_split_file(root))
        photos = list(_karpathy(_load(files[-1], ("images",))["images"], files[-1]))
    examples = _examples(root, _chosen(photos, config.restval), captions)
    return SplitDataset(str(root), examples, files, settings=("coco", config.restval))


def _examples(
    root: Path, photos: Iterable[tuple[int, Photo]], captions: Mapping[int, list[str]]
) -> dict[str, list[Example]]:
    folders = {name: _image_folder(root, name) for name in FOLDERS}
    examples: dict[str, list[Example]] = {}
    photos = list(photos)
    files = ImageFiles(folders[photo.folder] / photo.file for _, photo in photos)
    for index, photo in photos:
        if photo.number not in captions:
            raise PrefixcapError(
                f"{root / 'annotations'} has no captions of the image {photo.file!r} "
                f"({photo.number}), which is in the split {photo.split!r}"
            )
        path = folders[photo.folder] / photo.file
        item = ImageItem(
            id=photo.file,
            index=index,
            path=path,
            open=image_opener(path),
            digest=partial(files.digest, path),
        )
        example = Example(image=item, references=tuple(captions[photo.number]))
        examples.setdefault(photo.split, []).append(example)
    return examples


def _chosen(photos: Iterable[Photo], restval: str) -> Iterator[tuple[int, Photo]]:
    # an image keeps its number whatever is left out: it is its row among precomputed features
    for index, photo in enumerate(photos):
        if photo.split != "restval" or restval == "keep":
            yield index, photo
        elif restval == "train":
            yield index, attrs.evolve(photo, split="train")


def _official(images: list[Any], folder: str, path: Path) -> list[Photo]:
    return [
        Photo(
            number=_get(image, "id", int, f"{path}, image {position}"),
            folder=folder,
            file=_get(image, "file_name", str, f"{path}, image {position}"),
            split=FOLDERS[folder],
        )
        for position, image in enumerate(images, start=1)
    ]


def _collect(annotations: list[Any], captions: dict[int, list[str]], path: Path) -> None:
    for position, annotation in enumerate(annotations, start=1):
        place = f"{path}, annotation {position}"
        text = whole(_get(annotation, "caption", str, place).strip(), f"{place}: 'caption'")
        if text:
            captions.setdefault(_get(annotation, "image_id", int, place), []).append(text)


def _karpathy(images: list[Any], path: Path) -> Iterator[Photo]:
    for position, image in enumerate(images, start=1):
        place = f"{path}, image {position}"
        folder = _get(image, "filepath", str, place)
        if folder not in FOLDERS:
            known = " nor ".join(map(repr, FOLDERS))
            raise PrefixcapError(f"{place}: 'filepath' is {folder!r}, neither {known}")
        yield Photo(
            number=_get(image, "cocoid", int, place),
            folder=folder,
            file=_get(image, "filename", str, place),
            split=_get(image, "split", str, place),
        )


def _get(entry: Any, key: str, kind: type[T], place: str) -> T:
    value = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(value, kind):
        what = "a whole number" if kind is int else "a text"
        raise PrefixcapError(f"{place}: {key!r} must be {what}, not {value!r:.60}")
    return value


def _load(path: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    if not path.is_file():
        raise PrefixcapError(f"COCO's file {path} is not there")
    try:
        data = json.loads(path.read_bytes())
    except ValueError as error:
        raise PrefixcapError(f"{path} is no JSON: {error}") from error
    for key in keys:
        if not isinstance(data, dict) or not isinstance(data.get(key), list):
            raise PrefixcapError(f"{path} is not of COCO's format: it has no list {key!r}")
    return dict(data)


def _split_file(root: Path) -> Path:
    places = [root / SPLIT_FILE, root / "annotations" / SPLIT_FILE]
    for place in places:
        if place.is_file():
            return place
    raise PrefixcapError(
        f"Karpathy's split file is not there: neither {places[0]} nor {places[1]}; "
        "splits=official does without it"
    )


def _image_folder(root: Path, name: str) -> Path:
    places = [root / name, root / "images" / name]
    for place in places:
        if place.is_dir():
            return place
    raise PrefixcapError(
        f"COCO's images are not there: neither the folder {places[0]} nor {places[1]}"
    )
