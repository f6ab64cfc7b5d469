"""The data set `jsonl`: a folder with a caption file, and images or their embeddings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from prefixcap.captioning.feature_store import FeatureStore
from prefixcap.errors import PrefixcapError, listed, nearest, shown
from prefixcap.interfaces.dataset import ImageItem
from prefixcap.util.feature_files import SUFFIXES, FeatureFile
from prefixcap.util.images import open_image
from prefixcap.util.text_files import expanded, load_lines
from prefixcap_datasets.entries import Entry, Source, assemble
from prefixcap_datasets.image_files import (
    FileDataset,
    ImageFiles,
    Inside,
    existing_folder,
    is_folder,
)
from prefixcap_datasets.problems import EMPTY_CAPTIONS, REPEATED, WITHOUT_CAPTIONS, problem

if TYPE_CHECKING:
    import numpy as np

KEYS = ("image", "split", "captions")

Row = tuple[FeatureFile, int]
"""The features of an image: the row of a file."""


@attrs.frozen
class CaptionLine:
    """A line of the caption file."""

    image: str
    split: str
    captions: tuple[str, ...]
    place: str


def read_jsonl(source: Source, captions: str, images: str, embeddings: str | None) -> FileDataset:
    """Open the data set; see `Jsonl` for the arguments.

    Raises:
        PrefixcapError: If a folder or file is missing or broken, the embeddings do not fit, or an
            image is outside the folder.
    """
    folder = existing_folder(source.path, "the jsonl data set")
    caption_file, image_folder = folder / captions, folder / images
    lines = read_lines(caption_file, needs_split=source.keeps_splits)
    file = find_embeddings(folder, embeddings)
    features = _open_features(file, lines, caption_file) if file else None
    has_images = is_folder(image_folder)
    if not features and not has_images:
        raise PrefixcapError(f"{folder} has neither the folder {images!r} nor embeddings")
    inside = Inside((folder, image_folder), allow_outside=source.allow_outside)
    paths = [
        inside.file(image_folder, line.image, line.place) if has_images else None for line in lines
    ]
    files = ImageFiles(path for path in paths if path is not None)
    entries = (
        Entry(
            image=ImageItem(
                id=line.image,
                index=index,
                path=image,
                open=partial(open_image, image) if image else None,
                embedding=partial(_finite_row, *features[index]) if features else None,
                digest=partial(_image_digest, files, image, features[index] if features else None),
            ),
            captions=line.captions,
            split=line.split,
            place=line.place,
        )
        for index, (line, image) in enumerate(zip(lines, paths, strict=True))
    )
    return assemble(source, folder, entries)


def _open_features(path: Path, lines: Sequence[CaptionLine], captions: Path) -> list[Row]:
    """Return the row of each line: that of its image in a store, else that of its number."""
    if is_folder(path):
        store = FeatureStore.open(path)
        return [(store.file, store.row(line.image)) for line in lines]
    features = FeatureFile(path)
    if len(features) != len(lines):
        raise PrefixcapError(
            f"{features.path} has {len(features)} rows, but {captions} has {len(lines)} lines: row "
            "i belongs to line i"
        )
    return [(features, row) for row in range(len(lines))]


def _finite_row(features: FeatureFile, index: int) -> np.ndarray:
    import numpy as np

    row = features.row(index)
    if not np.isfinite(row).all():
        raise PrefixcapError(f"{features.path}: row {index} has values that are not finite")
    return row


def _image_digest(files: ImageFiles, path: Path | None, feature: Row | None) -> str:
    parts = (
        None if path is None else files.digest(path),
        None if feature is None else feature[0].digest(feature[1]),
    )
    return sha256(repr(parts).encode()).hexdigest()[:16]


def find_embeddings(folder: Path, name: str | None) -> Path | None:
    """Return the named embedding file or store, or the folder's only file, or None if it has none.

    Raises:
        PrefixcapError: If none is named and there is more than one.
    """
    if name is not None:
        return folder / expanded(name)
    try:
        files = sorted(path for path in folder.glob("*") if path.suffix in SUFFIXES)
    except OSError as error:
        raise PrefixcapError(f"{folder} cannot be read: {error.strerror}") from error
    if len(files) > 1:
        names = listed(path.name for path in files)
        raise PrefixcapError(
            f"{folder} has more than one embedding file ({names}): "
            f"choose one, such as embeddings={files[0].name}"
        )
    return files[0] if files else None


def read_lines(path: Path, *, needs_split: bool = True) -> list[CaptionLine]:
    """Read a caption file.

    Args:
        path: The file.
        needs_split: Whether a line without a split is an error.

    Raises:
        PrefixcapError: If it is missing or empty, or a line, whose number is named, is broken.
    """
    lines: list[CaptionLine] = []
    seen: dict[str, int] = {}
    for number, data in load_lines(path, "the caption file"):
        place = f"{path}, line {number}"
        if number != len(lines) + 1:  # rows of features belong to lines
            raise PrefixcapError(f"{path}, line {len(lines) + 1}: not JSON: the line is empty")
        line = _parse_line(data, place, needs_split=needs_split)
        if seen.setdefault(line.image, number) != number:
            sentence = (
                f"{place}: the image {shown(line.image)} already appears in line {seen[line.image]}"
            )
            problem(REPEATED, line.image, sentence)
        lines.append(line)
    if not lines:
        raise PrefixcapError(f"the caption file {path} is empty")
    return lines


def _parse_line(data: object, place: str, *, needs_split: bool) -> CaptionLine:
    if not isinstance(data, dict):
        keys = ", ".join(map(repr, KEYS))
        raise PrefixcapError(f"{place}: a {type(data).__name__}, not an object with {keys}")
    for key in KEYS:
        if key not in data and (needs_split or key != "split"):
            raise PrefixcapError(f"{place}: no {key!r}{nearest(key, data)}")
    image = _text(data["image"], "image", place)
    captions = data["captions"]
    if not isinstance(captions, list) or not captions:
        sentence = f"{place}: 'captions' must be a list of strings, not {shown(captions)}"
        if captions != []:
            raise PrefixcapError(sentence)
        problem(WITHOUT_CAPTIONS, image, sentence)
    return CaptionLine(
        image=image,
        split=_text(data["split"], "split", place) if needs_split else "",
        captions=tuple(_captions(captions, place)),
        place=place,
    )


def _captions(captions: list[object], place: str) -> Iterator[str]:
    for caption in captions:
        if isinstance(caption, str) and not caption.strip():
            problem(EMPTY_CAPTIONS, place, _empty("captions", place))
        else:
            yield _text(caption, "captions", place)


def _text(value: object, key: str, place: str) -> str:
    if not isinstance(value, str):
        raise PrefixcapError(f"{place}: {key!r} must be a string, not {shown(value)}")
    if not value.strip():
        raise PrefixcapError(_empty(key, place))
    return value.strip()


def _empty(key: str, place: str) -> str:
    return f"{place}: {key!r} has an empty string"
