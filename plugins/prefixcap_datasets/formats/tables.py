"""Tables of text with a header, and lines of JSON objects as such tables, read strictly."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prefixcap.errors import PrefixcapError, listed, shown
from prefixcap.util.text_files import load_lines, read_text


def read_table(path: Path, separator: str) -> Iterator[tuple[dict[str, str], str]]:
    """Yield each row by the names of its columns, and its place for errors.

    A cell in quotation marks may have separators, line ends, and quotation marks if doubled.

    Raises:
        PrefixcapError: If the file cannot be read, the header is missing or names a column twice,
            or a row, whose line is named, has another number of cells.
    """
    text = read_text(path, "the table")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    header: list[str] = []
    start = 1
    try:
        for cells in reader:
            place, start = f"{path}, line {start}", reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if not header:
                header = _header(cells, path)
                continue
            if len(cells) != len(header):
                raise PrefixcapError(
                    f"{place}: {len(cells)} cells, but the header has {len(header)} "
                    f"({listed(header)}): a cell with {shown(separator)} must be in quotation marks"
                )
            yield dict(zip(header, cells, strict=True)), place
    except csv.Error as error:
        raise PrefixcapError(f"{path}, line {reader.line_num}: not a table: {error}") from error
    if not header:
        raise PrefixcapError(f"the table {path} is empty")


def read_objects(path: Path) -> Iterator[tuple[dict[str, str], str]]:
    """Yield each line's JSON object as a row of `read_table`; what is no text stays JSON.

    Raises:
        PrefixcapError: If the file cannot be read, or a line, whose number is named, is no object.
    """
    for number, data in load_lines(path, "the table"):
        place = f"{path}, line {number}"
        if not isinstance(data, dict):
            raise PrefixcapError(f"{place}: a {type(data).__name__}, not an object")
        yield {key: _as_text(value) for key, value in data.items()}, place


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _header(cells: list[str], path: Path) -> list[str]:
    names = [cell.strip() for cell in cells]
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise PrefixcapError(f"{path}: the header names the column {shown(repeated[0])} twice")
    return names
