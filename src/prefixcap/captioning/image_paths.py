"""Names of image files: from folders, and from lists of names."""

from __future__ import annotations

import os
import sys
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Never

from prefixcap.errors import PrefixcapError
from prefixcap.util.text_files import expanded, open_file

SUFFIXES = (
    *(".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pgm", ".png", ".ppm"),
    *(".tga", ".tif", ".tiff", ".webp"),
)
"""The endings of image files that are looked for in folders, in any case."""


def find_images(names: Iterable[Path]) -> list[Path]:
    """Replace each folder by the image files in it and in its folders, in the order of names.

    Names that begin with a full stop and folders behind symbolic links are left out. What is no
    folder stays, whatever it is.

    Raises:
        PrefixcapError: If a folder cannot be listed or has no image file.
    """
    return [path for name in names for path in (_in_folder(name) if name.is_dir() else (name,))]


def _in_folder(folder: Path) -> Iterator[Path]:
    found = False
    for place, folders, files in os.walk(folder, onerror=_raise):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                found = True
                yield Path(place, name)
    if not found:
        endings = " ".join(SUFFIXES)
        raise PrefixcapError(f"{folder}: the folder has no image file (a name ending in {endings})")


def _raise(error: OSError) -> Never:
    raise PrefixcapError(f"{error.filename}: the folder cannot be listed: {error.strerror}")


def read_image_list(source: str) -> list[Path]:
    """Read a list of names, one per line or each followed by NUL (as `find -print0` writes them).

    "-" is standard input. Empty lines are left out.

    Raises:
        PrefixcapError: If the list cannot be read or has no name.
    """
    place = "standard input" if source == "-" else source
    try:
        content = _read_list(source)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PrefixcapError(f"{place}: cannot be read as a list of images: {reason}") from error
    if content.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        content = content.decode("utf-16", "replace").encode()
    content = content.removeprefix(BOM_UTF8)
    by_line = b"\0" not in content
    parts = content.splitlines() if by_line else content.split(b"\0")
    names = [Path(os.fsdecode(part)) for part in parts if part.strip()]
    if not names:
        raise PrefixcapError(f"{place}: the list of images is empty")
    return names


def _read_list(source: str) -> bytes:
    if source == "-":
        if sys.stdin is None:
            raise ValueError("it is closed")
        return sys.stdin.buffer.read()
    with open_file(expanded(source), "the list of images") as file:
        return file.read()
