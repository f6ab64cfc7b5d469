"""The data set `karpathy`, and Karpathy's split files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import attrs

from prefixcap.errors import PrefixcapError, listed
from prefixcap.util.text_files import expanded
from prefixcap_datasets.entries import Entry, Pictures, Source, assemble, image_folder
from prefixcap_datasets.formats.json_entries import get, load_object, places, text
from prefixcap_datasets.image_files import FileDataset, is_folder
from prefixcap_datasets.problems import WITHOUT_CAPTIONS, problem, stripped

PATTERN = "dataset_*.json"


@attrs.frozen
class SplitLine:
    """An image of a split file: its position, file name, folder or "", split and other values."""

    index: int
    file: str
    folder: str
    split: str
    values: dict[str, Any]
    place: str


def read_karpathy(source: Source, images: str, restval: str) -> FileDataset:
    """Open the data set; see `Karpathy` for the arguments.

    Raises:
        PrefixcapError: If the file is missing or not in Karpathy's format, or an image appears
            twice, has no caption, or its file is outside the folder.
    """
    path = _split_file(expanded(source.path))
    lines = split_lines(path, restval if source.keeps_splits else "keep")
    folder = image_folder(path.parent, images)
    return assemble(source, path, _entries(source, path.parent, folder, lines))


def split_lines(path: Path, restval: str) -> Iterator[SplitLine]:
    """Yield the images of a split file, those of the split restval as `restval` says.

    Raises:
        PrefixcapError: If it is missing or not in Karpathy's format.
    """
    images = load_object(path, "Karpathy", ("images",))["images"]
    # the index counts the images left out too, because it is the row of precomputed features
    for index, (place, image) in enumerate(places(images, path, "image")):
        split = text(image, "split", place).strip().lower()
        file = text(image, "filename", place)
        folder = get(image, "filepath", str, place) if "filepath" in image else ""
        if split == "restval":
            if restval == "drop":
                continue
            split = "restval" if restval == "keep" else "train"
        yield SplitLine(index, file, folder, split, image, place)


def _split_file(path: Path) -> Path:
    if not is_folder(path):
        return path
    found = sorted(path.glob(PATTERN))
    if len(found) == 1:
        return found[0]
    several = f"has several ({listed(file.name for file in found)}): choose one" if found else ""
    raise PrefixcapError(
        f"{path} {several or 'has none'}, such as path={path / 'dataset_flickr8k.json'}: the "
        "data set 'karpathy' needs a split file of Karpathy's"
    )


def _entries(
    source: Source, root: Path, folder: Path, lines: Iterable[SplitLine]
) -> Iterator[Entry]:
    pictures = Pictures(source, root, folder)
    starts: dict[str, Path] = {}
    for line in lines:
        if line.folder not in starts:
            starts[line.folder] = _within(root, folder, line.folder)
        captions = list(_captions(line))
        if not captions:
            problem(WITHOUT_CAPTIONS, line.file, f"{line.place}: 'sentences' has no caption")
        start = starts[line.folder]
        image = pictures.item(line.file, line.index, start, line.place)
        yield Entry(image=image, captions=captions, split=line.split, place=line.place)


def _within(root: Path, images: Path, name: str) -> Path:
    """Return where the images are of which the file says that they are in the folder `name`."""
    if not name:
        return images
    return next(filter(is_folder, (images / name, root / name)), images)


def _captions(line: SplitLine) -> Iterator[str]:
    sentences = get(line.values, "sentences", list, line.place)
    for place, sentence in places(sentences, line.place, "sentence"):
        if caption := stripped(get(sentence, "raw", str, place), place):
            yield caption
