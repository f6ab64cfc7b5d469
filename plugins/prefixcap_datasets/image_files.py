"""Shared parts of the data sets: their digests, and where their image files may be."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable
from functools import cached_property
from hashlib import file_digest, sha256
from pathlib import Path
from typing import final

from typing_extensions import override

from prefixcap.errors import PrefixcapError, shown
from prefixcap.interfaces.dataset import InMemoryDataset
from prefixcap.util.text_files import expanded
from prefixcap_datasets.problems import OUTSIDE, problem

MAX_HASHED_BYTES = 2**30


@final
class FileDataset(InMemoryDataset):
    """Examples from files; its digest is that of the examples, whatever files they are from."""

    @override
    def digest(self) -> str:
        return self._digest

    @cached_property
    def _digest(self) -> str:
        digest = sha256()
        for split, examples in self._examples.items():
            for example in examples:
                image, references = example.image, example.references
                content = image.digest() if image.digest else ""
                part = (split, image.id, image.index, references, content)
                digest.update(repr(part).encode())
        return digest.hexdigest()[:16]


@final
class ImageFiles:
    """Digests of a data set's image files.

    The contents are hashed if all files together are small, so that a copy counts as the same
    data set. Otherwise (COCO has 20 GB) the size and modification time are hashed: a copy with
    new times then counts as different, and a changed image is missed only if both stay the same.

    Args:
        paths: Image files of the data set; `add` adds more before the first digest.
        max_bytes: Total size up to which contents are hashed.
    """

    def __init__(self, paths: Iterable[Path] = (), max_bytes: int = MAX_HASHED_BYTES) -> None:
        self._paths = list(paths)
        self._max_bytes = max_bytes
        self._digests: dict[Path, str] = {}

    def add(self, path: Path) -> None:
        """Add an image file of the data set."""
        self._paths.append(path)

    def digest(self, path: Path) -> str:
        """Return a hash of a file, or "missing" if it cannot be read or is no file."""
        if path not in self._digests:
            state = self._states[path]
            self._digests[path] = repr(state) if state else "missing"
            if state is not None and self._hash_contents:
                with contextlib.suppress(OSError):  # the image is reported when it is read
                    self._digests[path] = self._content(path)
        return self._digests[path]

    @staticmethod
    def _content(path: Path) -> str:
        with path.open("rb") as file:
            return file_digest(file, "sha256").hexdigest()

    @cached_property
    def _hash_contents(self) -> bool:
        return sum(state[0] for state in self._states.values() if state) <= self._max_bytes

    @cached_property
    def _states(self) -> dict[Path, tuple[int, int] | None]:
        return {path: _state(path) for path in self._paths}


def _state(path: Path) -> tuple[int, int] | None:
    try:
        state = os.stat(path)  # noqa: PTH116  # half the time of Path.stat, for 123,287 images
    except OSError:
        return None
    if not stat.S_ISREG(state.st_mode):  # a pipe would block
        return None
    return state.st_size, state.st_mtime_ns


def existing_folder(path: str, owner: str) -> Path:
    """Return the path of a folder, with `~` expanded.

    Raises:
        PrefixcapError: If it does not exist, is not a folder or must not be read.
    """
    folder = expanded(path)
    if not is_folder(folder):
        reason = "is not a folder" if os.path.lexists(folder) else "does not exist"
        raise PrefixcapError(f"the folder of {owner}, {folder}, {reason}")
    return folder


def is_folder(path: Path) -> bool:
    """Return whether there is a folder.

    Raises:
        PrefixcapError: If that cannot be known, as for a folder without permission.
    """
    try:
        return path.is_dir()
    except OSError as error:
        raise PrefixcapError(f"{path} cannot be read: {error.strerror}") from error


def is_utf8(name: str) -> bool:
    """Return whether a name of a file can be written as text; Python stands in for other bytes."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


@final
class Inside:
    """Files that must be inside folders, wherever symbolic links lead.

    The folders may be links themselves, since the user chose them; what a data file names was
    chosen by the author of the data set.

    Args:
        folders: The folders.
        allow_outside: Whether files may be elsewhere after all.
    """

    def __init__(self, folders: Iterable[Path], *, allow_outside: bool) -> None:
        self._folders = tuple({os.path.realpath(folder) for folder in folders})
        self._allow_outside = allow_outside
        self._inside: dict[Path, bool] = {}

    def file(self, folder: Path, name: str, place: str) -> Path | None:
        """Return the path of a file that a data file names.

        Args:
            folder: The folder in which it is looked for.
            name: Its name, which may have folders.
            place: Where it is named, for errors.

        Returns:
            The path; None if the problem below is noted.

        Raises:
            PrefixcapError: If it is no file name, or leads out of the folders.
        """
        path = folder / name
        try:
            if "\0" not in name and (self._allow_outside or self._contains(path)):
                return path
            reason = "is no file name"
            if "\0" not in name:
                reason = (
                    f"leads out of the data set's folder, to {shown(os.path.realpath(path))}; the "
                    "data set's setting allow_outside=true allows it"
                )
        except OSError as error:  # such as a name that is too long
            reason = f"is no file name: {error.strerror}"
        problem(OUTSIDE, place, f"{place}: {shown(name)} {reason}")
        return None

    def _contains(self, path: Path) -> bool:
        parent = path.parent
        if path.name in ("", "..") or path.is_symlink():
            return self._is_inside(os.path.realpath(path))
        if parent not in self._inside:  # once a folder, as COCO has 123,287 images
            self._inside[parent] = self._is_inside(os.path.realpath(parent))
        return self._inside[parent]

    def _is_inside(self, path: str) -> bool:
        return any(
            path == folder or path.startswith(f"{folder.rstrip('/')}/") for folder in self._folders
        )
