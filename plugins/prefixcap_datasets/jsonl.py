"""The data set `jsonl`: a folder with a caption file, images or their embeddings."""

from __future__ import annotations

import json
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from prefixcap.errors import PrefixcapError, nearest
from prefixcap.interfaces.dataset import Example, ImageItem
from prefixcap_datasets.embeddings import Embeddings, find
from prefixcap_datasets.image_files import (
    ImageFiles,
    SplitDataset,
    existing_folder,
    image_opener,
    whole,
)

if TYPE_CHECKING:
    from prefixcap_datasets.configs import Jsonl

KEYS = ("image", "split", "captions")


@attrs.frozen
class Line:
    """One line of the caption file."""

    image: str
    split: str
    captions: tuple[str, ...]


def read(config: Jsonl) -> SplitDataset:
    """Opens the data set of a config.

    Raises:
        PrefixcapError: a folder or file is missing or broken, or the embeddings do not fit.
    """
    folder = existing_folder(config.path, "the jsonl data set")
    lines = read_lines(folder / config.captions)
    file = embeddings_file(config)
    embeddings = Embeddings(file) if file else None
    if embeddings and embeddings.shape[0] != len(lines):
        raise PrefixcapError(
            f"{embeddings.path} has {embeddings.shape[0]} rows, but "
            f"{folder / config.captions} has {len(lines)} lines: row i belongs to line i"
        )
    images = folder / config.images
    if not embeddings and not images.is_dir():
        raise PrefixcapError(f"{folder} has neither the folder {config.images!r} nor embeddings")
    examples: dict[str, list[Example]] = {}
    paths = [images / line.image if images.is_dir() else None for line in lines]
    files = ImageFiles(path for path in paths if path is not None)
    for index, (line, path) in enumerate(zip(lines, paths, strict=True)):
        item = ImageItem(
            id=line.image,
            index=index,
            path=path,
            open=image_opener(path) if path else None,
            embedding=embeddings.reader(index) if embeddings else None,
            digest=partial(_digest, files, path, embeddings, index),
        )
        found = examples.setdefault(line.split, [])
        found.append(Example(image=item, references=line.captions))
    return SplitDataset(str(folder), examples, [folder / config.captions], settings="jsonl")


def _digest(files: ImageFiles, path: Path | None, embeddings: Embeddings | None, row: int) -> str:
    """Returns a hash of an image's file and of its embedding."""
    shown = None if path is None else files.digest(path)
    found = None if embeddings is None else embeddings.digest(row)
    return sha256(repr((shown, found)).encode()).hexdigest()[:16]


def embeddings_file(config: Jsonl) -> Path | None:
    """Returns the file of embeddings that a config means; raises as `find` does."""
    return find(Path(config.path).expanduser(), config.embeddings)


def read_lines(path: Path) -> list[Line]:
    """Reads a caption file.

    Raises:
        PrefixcapError: it is missing or empty, or a line is broken; its number is said.
    """
    if not path.is_file():
        raise PrefixcapError(f"the caption file {path} is not there")
    texts = path.read_bytes().removeprefix(b"\xef\xbb\xbf").rstrip().split(b"\n")
    if texts == [b""]:
        raise PrefixcapError(f"the caption file {path} is empty")
    lines: list[Line] = []
    numbers: dict[str, int] = {}
    for number, text in enumerate(texts, start=1):
        place = f"{path}, line {number}"
        line = _line(text, place)
        if line.image in numbers:
            raise PrefixcapError(
                f"{place}: the image {line.image!r} already stands in line {numbers[line.image]}"
            )
        numbers[line.image] = number
        lines.append(line)
    return lines


def _line(text: bytes, place: str) -> Line:
    try:
        data = json.loads(text.decode())
    except ValueError as error:  # of the encoding or of the JSON
        raise PrefixcapError(f"{place}: no JSON: {error}") from error
    if not isinstance(data, dict):
        raise PrefixcapError(f"{place}: a {type(data).__name__}, not an object with {_known()}")
    for key in KEYS:
        if key not in data:
            raise PrefixcapError(f"{place}: no {key!r}{nearest(key, map(str, data))}")
    captions = data["captions"]
    if not isinstance(captions, list) or not captions:
        raise PrefixcapError(f"{place}: 'captions' must be a list of texts, not {captions!r:.60}")
    return Line(
        image=_text(data["image"], "image", place),
        split=_text(data["split"], "split", place),
        captions=tuple(_text(caption, "captions", place) for caption in captions),
    )


def _text(value: object, key: str, place: str) -> str:
    if not isinstance(value, str):
        raise PrefixcapError(f"{place}: {key!r} must be text, not {value!r:.60}")
    if not value.strip():
        raise PrefixcapError(f"{place}: {key!r} has an empty text")
    return whole(value.strip(), f"{place}: {key!r}")


def _known() -> str:
    return ", ".join(map(repr, KEYS))
