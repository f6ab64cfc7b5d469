"""The folder or archive of a bundle: written in one order, and read without trust."""

from __future__ import annotations

import contextlib
import os
import stat
import zipfile
import zlib
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import IO

import attrs

from prefixcap.errors import PrefixcapError, shown
from prefixcap.study.artifacts.integrity import is_name
from prefixcap.util.files import atomic_write, unreadable
from prefixcap.util.storage.temporary import replacing, temporary_folder
from prefixcap.util.text_files import MAX_BYTES

ZIP = ".zip"
MOST_FILES = 200_000
MOST_BYTES = 4 * 2**30
"""All files together, unpacked."""
_OLDEST = (1980, 1, 1, 0, 0, 0)  # no time of an archive is earlier
_PART = 2**20
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)


@attrs.frozen
class Unpacked:
    """A bundle's files in a folder of their own, and the SHA-256 of each, by its name."""

    folder: Path
    digests: dict[str, str]


def names_in(folder: Path) -> list[str]:
    """Return the names of all files below a folder, in order.

    Raises:
        PrefixcapError: If something in it is neither a file nor a folder, such as a link.
    """
    names = []
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place) / name
            mode = path.lstat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise PrefixcapError(f"{path} is a link or a device: a bundle has only files")
        names += [(Path(place) / name).relative_to(folder).as_posix() for name in files]
    return sorted(names)


def write(folder: Path, out: Path) -> None:
    """Write the files of a folder into an archive, or into a folder that is new or empty.

    The same files give the same bytes, as an archive has their names in order and no times.

    Raises:
        PrefixcapError: If there is something else at `out`.
    """
    check_target(out)
    if out.suffix.lower() != ZIP:
        for name in names_in(folder):
            atomic_write(out / name, (folder / name).read_bytes())
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as file, zipfile.ZipFile(file, "w") as archive:
        for name in names_in(folder):
            member = zipfile.ZipInfo(name, _OLDEST)
            member.create_system = 3
            member.external_attr = 0o644 << 16
            member.compress_type = zipfile.ZIP_DEFLATED
            with (folder / name).open("rb") as source, archive.open(member, "w") as target:
                while part := source.read(_PART):
                    target.write(part)


def check_target(out: Path) -> None:
    """Raise a `PrefixcapError` if a bundle cannot be written there."""
    if out.suffix.lower() == ZIP:
        if out.is_dir():
            raise PrefixcapError(f"--out {out} cannot be a file: it is a folder")
    elif out.exists() and not out.is_dir():
        raise PrefixcapError(
            f"--out {out} cannot be a folder: it is a file; an archive ends in {ZIP}"
        )
    elif out.exists() and any(out.iterdir()):
        raise PrefixcapError(f"--out {out} is not empty: choose another folder, or empty it")


@contextlib.contextmanager
def unpacked(bundle: Path) -> Iterator[Unpacked]:
    """Copy a bundle's files into a temporary folder; nothing is written anywhere else.

    Raises:
        PrefixcapError: If there is no such bundle, a name in it leads elsewhere, or it has too
            many files or bytes.
    """
    with temporary_folder() as place:
        folder = place / "bundle"
        folder.mkdir()
        try:
            digests = _copied(bundle, folder)
        except OSError as error:
            raise unreadable(bundle, error) from error
        yield Unpacked(folder, digests)


def _copied(bundle: Path, folder: Path) -> dict[str, str]:
    if bundle.is_dir():
        names = names_in(bundle)
        _check_names(bundle, names)
        left, digests = MOST_BYTES, {}
        for name in names:
            with (bundle / name).open("rb") as source:
                digests[name], left = _copy(source, folder / name, bundle, left)
        return digests
    if not bundle.is_file():
        problem = "is neither a file nor a folder" if bundle.exists() else "does not exist"
        raise PrefixcapError(f"the bundle {bundle} {problem}")
    try:
        with zipfile.ZipFile(bundle) as archive:
            return _extracted(archive, bundle, folder)
    except _BROKEN as error:
        raise PrefixcapError(
            f"the bundle {bundle} is no ZIP archive, or damaged: {error}"
        ) from None


def _extracted(archive: zipfile.ZipFile, bundle: Path, folder: Path) -> dict[str, str]:
    members = [member for member in archive.infolist() if not member.is_dir()]
    _check_names(bundle, [member.filename for member in members])
    left, digests = MOST_BYTES, {}
    for member in members:
        # a link would be a file with the name that it leads to
        with archive.open(member) as source:
            name = member.filename
            digests[name], left = _copy(source, folder / name, bundle, left)
    return digests


def _check_names(bundle: Path, names: list[str]) -> None:
    if len(names) > MOST_FILES:
        raise PrefixcapError(f"{bundle} has {len(names):,} files; a bundle has {MOST_FILES:,}")
    # names that some file system takes for the same
    known: dict[str, str] = {}
    for name in names:
        parts = name.split("/")
        if not all(is_name(part) and part.isprintable() for part in parts):
            raise PrefixcapError(f"{bundle}: {shown(name)} is no name of a file in a bundle")
        other = known.setdefault(name.casefold(), name)
        if other is not name:
            raise PrefixcapError(f"{bundle}: {shown(name)} and {shown(other)} are one file")
    folders = {str(parent).casefold() for name in names for parent in PurePosixPath(name).parents}
    if both := folders & known.keys():
        raise PrefixcapError(f"{bundle}: {shown(min(both))} is a file and a folder")


def _copy(source: IO[bytes], target: Path, bundle: Path, left: int) -> tuple[str, int]:
    """Copy a file; return its SHA-256, and how many bytes others may have."""
    content, most = sha256(), min(left, MAX_BYTES)
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        while part := source.read(_PART):
            most -= len(part)
            left -= len(part)
            if most < 0:
                raise PrefixcapError(
                    f"{bundle} is too large: a bundle has at most {MOST_BYTES / 2**30:.0f} GiB, "
                    f"and {MAX_BYTES / 2**30:.0f} GiB a file"
                )
            content.update(part)
            file.write(part)
    return content.hexdigest(), left
