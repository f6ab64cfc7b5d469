"""The data sets `csv` and `tsv`: tables with columns of images and captions."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import attrs

from prefixcap.errors import PrefixcapError, listed, nearest, shown
from prefixcap.util.text_files import expanded, parse_json
from prefixcap_datasets.entries import IMAGE_FOLDERS, Entry, Pictures, Source, assemble
from prefixcap_datasets.entries import image_folder as find_image_folder
from prefixcap_datasets.formats.tables import read_objects, read_table
from prefixcap_datasets.image_files import FileDataset, is_folder
from prefixcap_datasets.problems import IN_TWO_SPLITS, problem, stripped

SEPARATORS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
LINES = ".jsonl"
WORDS = {"tab": "\t", "comma": ",", "semicolon": ";", "bar": "|"}
SPLIT = "split"


@attrs.frozen(kw_only=True)
class Columns:
    """The columns of images, captions and splits, and what is between captions in one cell."""

    image: str
    captions: Sequence[str]
    split: str
    between: str


@attrs.define
class _Image:
    """An image of which one or more rows were read."""

    captions: list[str]
    split: str
    place: str


def read_csv(source: Source, columns: Columns, separator: str, images: str) -> FileDataset:
    """Open the data set; see `Csv` for the arguments.

    Raises:
        PrefixcapError: If the file or a column is missing, a row is broken, the rows of an image
            differ in their splits, or an image has no caption or is outside the folder.
    """
    path = _table_file(expanded(source.path))
    rows = _grouped(path, columns, separator, needs_split=source.keeps_splits)
    folder = _image_folder(path.parent, images, next(iter(rows), ""))
    pictures = Pictures(source, path.parent, folder)
    entries = (
        Entry(
            image=pictures.item(name, index, folder, row.place),
            captions=row.captions,
            split=row.split,
            place=row.place,
        )
        for index, (name, row) in enumerate(rows.items())
    )
    return assemble(source, path, entries)


def _table_file(path: Path) -> Path:
    if not is_folder(path):
        return path
    found = sorted(file for file in path.iterdir() if file.suffix.lower() in (*SEPARATORS, LINES))
    if len(found) == 1:
        return found[0]
    names = f"several tables ({listed(file.name for file in found)})" if found else "no table"
    raise PrefixcapError(f"{path} has {names}: give the path of one, such as path={path}/a.csv")


def _image_folder(root: Path, named: str, first: str) -> Path:
    """Return the named folder, or the usual one with the first image; it may also be the root."""
    # unlike `Path.is_file`, this is False for a name that no file can have
    is_file = os.path.isfile
    usual = [name for name in (*IMAGE_FOLDERS, ".") if is_file(root / name / first)]
    return find_image_folder(root, named, usual or IMAGE_FOLDERS)


def _grouped(
    path: Path, columns: Columns, separator: str, *, needs_split: bool
) -> dict[str, _Image]:
    """Return the images in the order of their first rows."""
    images: dict[str, _Image] = {}
    for cells, place in _rows(path, separator):
        name = _cell(cells, columns.image, place).strip()
        if not name:
            raise PrefixcapError(f"{place}: the column {shown(columns.image)} is empty")
        split = _split(cells, columns.split, place) if needs_split else ""
        image = images.setdefault(name, _Image([], split, place))
        if image.split != split:
            sentence = (
                f"{place}: the image {shown(name)} is in the split {shown(split)}, but in "
                f"{shown(image.split)} in {image.place}"
            )
            problem(IN_TWO_SPLITS, name, sentence)
        image.captions.extend(_captions(cells, columns, place))
    return images


def _rows(path: Path, separator: str) -> Iterator[tuple[dict[str, str], str]]:
    ending = path.suffix.lower()
    if ending == LINES:
        return read_objects(path)
    return read_table(path, WORDS.get(separator, separator) or SEPARATORS.get(ending, ","))


def _cell(cells: dict[str, str], column: str, place: str) -> str:
    if column not in cells:
        raise PrefixcapError(f"{place}: no column {shown(column)}{nearest(column, cells)}")
    return cells[column]


def _split(cells: dict[str, str], column: str, place: str) -> str:
    if column == SPLIT and column not in cells:  # the default; a table need not have it
        return ""
    if split := _cell(cells, column, place).strip():
        return split
    raise PrefixcapError(f"{place}: the column {shown(column)} is empty")


def _captions(cells: dict[str, str], columns: Columns, place: str) -> list[str]:
    """Return the captions of a row, of whose cells some may be empty."""
    found = [text for cell in _cells(cells, columns, place) if (text := cell.strip())]
    if not found:
        stripped("", place)
    return found


def _cells(cells: dict[str, str], columns: Columns, place: str) -> Iterator[str]:
    for pattern in columns.captions:
        matching = [name for name in cells if fnmatchcase(name, pattern)]
        for name in matching or [pattern]:
            text = _cell(cells, name, place).strip()
            yield from _texts(text, columns.between, place)


def _texts(cell: str, between: str, place: str) -> list[str]:
    """Return the captions of a cell: a list in JSON, or texts with a separator between them."""
    if not cell.startswith(('["', "['")):
        return cell.split(between) if between else [cell]
    try:
        texts = parse_json(cell)
    except ValueError as error:
        raise PrefixcapError(
            f"{place}: {shown(cell)} is no list of captions in JSON: {error}"
        ) from error
    if not all(isinstance(text, str) for text in texts):
        raise PrefixcapError(f"{place}: {shown(cell)} is no list of captions")
    return list(texts)
