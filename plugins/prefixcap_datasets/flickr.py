"""The data set `flickr`: Flickr8k and Flickr30k in the formats in which people exchange them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from prefixcap.errors import PrefixcapError, listed, shown
from prefixcap.util.text_files import expanded, read_text
from prefixcap_datasets.entries import Entry, Pictures, Source, assemble, image_folder
from prefixcap_datasets.formats.tables import read_table
from prefixcap_datasets.image_files import FileDataset, existing_folder
from prefixcap_datasets.problems import (
    IN_TWO_SPLITS,
    REPEATED,
    WITHOUT_CAPTIONS,
    problem,
    stripped,
)

CAPTION_FILES = (
    *("captions.txt", "Flickr8k.token.txt"),
    *("results.csv", "results_20130124.token"),
)
REST = "rest"
"""The split of images that are in no list."""
_LIST = re.compile(r"(?:.*[._])?(train|dev|val|test)(?:Images)?\.txt", re.IGNORECASE)
_TOKEN = re.compile(r"([^#\t]+)#\d+\t(.*)")
# Flickr30k's results.csv has one line without its second bar: 2199200615.jpg| 4   A dog ...
_UNBARRED = re.compile(r"\s*\d+\s+(\S.*)")

Caption = tuple[str, str, str]
"""An image, a caption and their place."""


def read_flickr(source: Source, captions: str, images: str) -> FileDataset:
    """Open the data set; see `Flickr` for the arguments.

    Raises:
        PrefixcapError: If a file is missing or in none of the formats, a list names an image twice
            or one without captions, or an image's file is outside the folder.
    """
    root = existing_folder(source.path, "the flickr data set")
    path = root / expanded(captions) if captions else _caption_file(root)
    texts: dict[str, list[str]] = {}
    places: dict[str, str] = {}
    for image, caption, place in _captions(path):
        texts.setdefault(image, []).append(caption)
        places.setdefault(image, place)
    splits = _listed(root, texts) if source.keeps_splits else {}
    folder = image_folder(root, images)
    pictures = Pictures(source, root, folder)
    entries = (
        Entry(
            image=pictures.item(image, index, folder, places[image]),
            captions=references,
            split=splits.get(image, REST if splits else ""),
            place=places[image],
        )
        for index, (image, references) in enumerate(texts.items())
    )
    return assemble(source, path, entries)


def _caption_file(root: Path) -> Path:
    found = [root / name for name in CAPTION_FILES if (root / name).is_file()]
    if len(found) == 1:
        return found[0]
    problem = "more than one" if found else "no"
    names = listed(path.name for path in found) if found else listed(CAPTION_FILES)
    raise PrefixcapError(
        f"{root} has {problem} caption file ({names}): name one, such as captions={names[:12]}"
    )


def _captions(path: Path) -> Iterator[Caption]:
    text = read_text(path, "the caption file")
    first = text.partition("\n")[0]
    header = first.strip().lower()
    if _TOKEN.match(first):
        read = _token_lines(text, path)
    elif header.startswith("image_name|"):
        read = _barred_lines(text, path)
    elif header in ("image,caption", "image_name,comment_number,comment"):
        read = _table_rows(path)
    else:
        raise PrefixcapError(
            f"{path} is in none of Flickr's formats: its first line is {shown(header)}, neither "
            "'image,caption' nor 'image_name| comment_number| comment' nor an image with '#0', a "
            "tab and a caption; the data set 'csv' reads other tables"
        )
    for image, caption, place in read:
        if text := stripped(caption, place):
            yield image.strip(), text, place


def _lines(text: str, path: Path, start: int) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(text.split("\n"), 1):
        if number >= start and line.strip():
            yield line.rstrip("\r"), f"{path}, line {number}"


def _token_lines(text: str, path: Path) -> Iterator[Caption]:
    for line, place in _lines(text, path, 1):
        match = _TOKEN.fullmatch(line)
        if match is None:
            raise PrefixcapError(f"{place}: {shown(line)} is no image with '#0', a tab and a text")
        yield match[1], match[2], place


def _barred_lines(text: str, path: Path) -> Iterator[Caption]:
    for line, place in _lines(text, path, 2):
        image, *rest = line.split("|", 2)
        unbarred = _UNBARRED.fullmatch(rest[0]) if len(rest) == 1 else None
        if len(rest) != 2 and unbarred is None:
            raise PrefixcapError(f"{place}: {shown(line)} is no image, number and caption")
        yield image, unbarred[1] if unbarred else rest[1], place


def _table_rows(path: Path) -> Iterator[Caption]:
    for row, place in read_table(path, ","):
        image, *_, caption = row.values()
        yield image, caption, place


def _listed(root: Path, captions: dict[str, list[str]]) -> dict[str, str]:
    """Return the split of each image that is in a list of the folder."""
    splits: dict[str, str] = {}
    places: dict[str, str] = {}
    for path in sorted(root.glob("*.txt")):
        match = _LIST.fullmatch(path.name)
        if match is None:
            continue
        split = match[1].lower().replace("dev", "val")
        for line, place in _lines(read_text(path, "the list of images"), path, 1):
            image = next((n for n in (line.strip(), f"{line.strip()}.jpg") if n in captions), None)
            if image is None:
                sentence = f"{place}: the image {shown(line)} has no captions"
                problem(WITHOUT_CAPTIONS, line, sentence)
                continue
            if image in places:
                sentence = f"{place}: the image {shown(line)} already appears in {places[image]}"
                problem(REPEATED if splits[image] == split else IN_TWO_SPLITS, image, sentence)
            splits[image], places[image] = split, place
    return splits
