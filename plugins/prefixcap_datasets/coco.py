"""The data set `coco`: the files of COCO 2014 as downloaded."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import attrs

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.dataset import Example, ImageItem
from prefixcap.util.images import open_image
from prefixcap_datasets.image_files import (
    FileDataset,
    ImageFiles,
    check_unicode,
    existing_folder,
)

SPLIT_FILE = "dataset_coco.json"
FOLDERS = {"train2014": "train", "val2014": "val"}

T = TypeVar("T", int, str)


@attrs.frozen
class Photo:
    """An image of COCO: its number, its file, and its split in the split file."""

    number: int
    folder: str
    file: str
    split: str


def read_coco(path: str, splits: str, restval: str) -> FileDataset:
    """Open the data set; see `Coco` for the arguments.

    Raises:
        PrefixcapError: If a folder or file is missing or not in COCO's format.
    """
    root = existing_folder(path, "the coco data set")
    annotations = {name: root / "annotations" / f"captions_{name}.json" for name in FOLDERS}
    files = list(annotations.values())
    captions: dict[int, list[str]] = {}
    photos: list[Photo] = []
    for name, file in annotations.items():
        data = _load(file, ("images", "annotations"))
        photos += _official_photos(data["images"], name, file)
        _collect_captions(data["annotations"], captions, file)
    if splits == "karpathy":
        paths = [root / SPLIT_FILE, root / "annotations" / SPLIT_FILE]
        hint = "; splits=official does not need it"
        files.append(_first(paths, Path.is_file, "Karpathy's split file is missing", hint))
        photos = list(_karpathy_photos(_load(files[-1], ("images",))["images"], files[-1]))
    examples = _examples(root, list(_assign_restval(photos, restval)), captions)
    return FileDataset(str(root), examples, files, settings=("coco", restval))


def _examples(
    root: Path, photos: list[tuple[int, Photo]], captions: Mapping[int, list[str]]
) -> dict[str, list[Example]]:
    folders = {
        name: _first(
            [root / name, root / "images" / name], Path.is_dir, "COCO's images are missing"
        )
        for name in FOLDERS
    }
    examples: dict[str, list[Example]] = {}
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
            open=partial(open_image, path),
            digest=partial(files.digest, path),
        )
        example = Example(image=item, references=tuple(captions[photo.number]))
        examples.setdefault(photo.split, []).append(example)
    return examples


def _assign_restval(photos: Iterable[Photo], restval: str) -> Iterator[tuple[int, Photo]]:
    # the index counts the images left out too, because it is the row of precomputed features
    for index, photo in enumerate(photos):
        if photo.split != "restval" or restval == "keep":
            yield index, photo
        elif restval == "train":
            yield index, attrs.evolve(photo, split="train")


def _official_photos(images: list[Any], folder: str, path: Path) -> list[Photo]:
    return [
        Photo(
            number=_get(image, "id", int, f"{path}, image {position}"),
            folder=folder,
            file=_get(image, "file_name", str, f"{path}, image {position}"),
            split=FOLDERS[folder],
        )
        for position, image in enumerate(images, start=1)
    ]


def _collect_captions(annotations: list[Any], captions: dict[int, list[str]], path: Path) -> None:
    for position, annotation in enumerate(annotations, start=1):
        place = f"{path}, annotation {position}"
        text = _get(annotation, "caption", str, place).strip()
        if check_unicode(text, f"{place}: 'caption'"):
            captions.setdefault(_get(annotation, "image_id", int, place), []).append(text)


def _karpathy_photos(images: list[Any], path: Path) -> Iterator[Photo]:
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
        expected = "an integer" if kind is int else "a string"
        raise PrefixcapError(f"{place}: {key!r} must be {expected}, not {value!r:.60}")
    return value


def _load(path: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    if not path.is_file():
        raise PrefixcapError(f"COCO's file {path} does not exist")
    try:
        data = json.loads(path.read_bytes())
    except ValueError as error:
        raise PrefixcapError(f"{path} is not JSON: {error}") from error
    for key in keys:
        if not isinstance(data, dict) or not isinstance(data.get(key), list):
            raise PrefixcapError(f"{path} is not in COCO's format: it has no list {key!r}")
    return dict(data)


def _first(
    paths: Sequence[Path], exists: Callable[[Path], bool], problem: str, hint: str = ""
) -> Path:
    for path in filter(exists, paths):
        return path
    raise PrefixcapError(f"{problem}: neither {paths[0]} nor {paths[1]} exists{hint}")
