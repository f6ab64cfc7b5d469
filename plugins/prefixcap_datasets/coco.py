"""The data set `coco`: the files of COCO 2014 as downloaded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import attrs

from prefixcap.errors import PrefixcapError, shown
from prefixcap.interfaces.dataset import Example, ImageItem
from prefixcap.util.images import open_image
from prefixcap.util.text_files import load_json
from prefixcap_datasets.image_files import (
    FileDataset,
    ImageFiles,
    Inside,
    existing_folder,
)

SPLIT_FILE = "dataset_coco.json"
FOLDERS = {"train2014": "train", "val2014": "val"}

T = TypeVar("T", int, str)


@attrs.frozen
class Photo:
    """An image of COCO: its number, its file, its split, and the entry that names it."""

    number: int
    folder: str
    file: str
    split: str
    place: str


def read_coco(path: str, splits: str, restval: str, *, allow_outside: bool) -> FileDataset:
    """Open the data set; see `Coco` for the arguments.

    Raises:
        PrefixcapError: If a folder or file is missing or not in COCO's format, an image appears
            twice, or its file is outside the folder.
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
    _check_distinct(photos)
    placed = list(_assign_restval(photos, restval))
    examples = _examples(root, placed, captions, allow_outside=allow_outside)
    return FileDataset(str(root), examples, files, settings=("coco", restval))


def _examples(
    root: Path,
    photos: list[tuple[int, Photo]],
    captions: Mapping[int, list[str]],
    *,
    allow_outside: bool,
) -> dict[str, list[Example]]:
    folders = {
        name: _first(
            [root / name, root / "images" / name], Path.is_dir, "COCO's images are missing"
        )
        for name in FOLDERS
    }
    examples: dict[str, list[Example]] = {}
    inside = Inside((root, *folders.values()), allow_outside=allow_outside)
    paths = [inside.file(folders[photo.folder], photo.file, photo.place) for _, photo in photos]
    files = ImageFiles(paths)
    for (index, photo), path in zip(photos, paths, strict=True):
        if photo.number not in captions:
            raise PrefixcapError(
                f"{root / 'annotations'} has no captions of the image {shown(photo.file)} "
                f"({photo.number}), which is in the split {shown(photo.split)}"
            )
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


def _check_distinct(photos: Iterable[Photo]) -> None:
    places: dict[int | str, str] = {}
    for photo in photos:
        for name in (photo.number, photo.file):  # the file's name is the image's id
            other = places.setdefault(name, photo.place)
            if other != photo.place:
                raise PrefixcapError(
                    f"{photo.place}: the image {shown(photo.file)} ({photo.number}) already "
                    f"appears in {other}: keep one entry with all its captions"
                )


def _official_photos(images: list[Any], folder: str, path: Path) -> list[Photo]:
    return [
        Photo(
            number=_get(image, "id", int, place),
            folder=folder,
            file=_text(image, "file_name", place),
            split=FOLDERS[folder],
            place=place,
        )
        for place, image in _places(images, path, "image")
    ]


def _collect_captions(annotations: list[Any], captions: dict[int, list[str]], path: Path) -> None:
    for place, annotation in _places(annotations, path, "annotation"):
        text = _get(annotation, "caption", str, place).strip()
        number = _get(annotation, "image_id", int, place)
        if text:
            captions.setdefault(number, []).append(text)


def _karpathy_photos(images: list[Any], path: Path) -> Iterator[Photo]:
    for place, image in _places(images, path, "image"):
        folder = _get(image, "filepath", str, place)
        if folder not in FOLDERS:
            known = " nor ".join(map(repr, FOLDERS))
            raise PrefixcapError(f"{place}: 'filepath' is {shown(folder)}, neither {known}")
        yield Photo(
            number=_get(image, "cocoid", int, place),
            folder=folder,
            file=_text(image, "filename", place),
            split=_text(image, "split", place).lower(),
            place=place,
        )


def _places(entries: list[Any], path: Path, label: str) -> Iterator[tuple[str, Any]]:
    """Yield each entry with its place for error messages."""
    return ((f"{path}, {label} {number}", entry) for number, entry in enumerate(entries, 1))


def _text(entry: Any, key: str, place: str) -> str:
    text = _get(entry, key, str, place)
    if not text.strip():
        raise PrefixcapError(f"{place}: {key!r} is empty")
    return text


def _get(entry: Any, key: str, kind: type[T], place: str) -> T:
    value = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        expected = "an integer" if kind is int else "a string"
        raise PrefixcapError(f"{place}: {key!r} must be {expected}, not {shown(value)}")
    return value


def _load(path: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    data = load_json(path, "COCO's file")
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
