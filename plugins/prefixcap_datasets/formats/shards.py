"""Tar shards whose members are read at their offsets: nothing is unpacked, no path is followed."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

import attrs

from prefixcap.errors import PrefixcapError, describe, shown
from prefixcap.util.text_files import check_file, expanded, open_file
from prefixcap_datasets.image_files import is_utf8

MAX_MEMBER = 2**30
"""The largest member that is read, in bytes."""
MAX_SHARDS = 100_000
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)", re.ASCII)


@attrs.frozen
class Member:
    """A file in a shard: its name, and where its bytes are."""

    shard: Path
    name: str
    offset: int
    size: int

    @property
    def place(self) -> str:
        """What errors call it."""
        return f"{self.shard}, {self.name}"

    def read(self) -> bytes:
        """Return its bytes.

        Raises:
            PrefixcapError: If the shard can no longer be read, or this is too large.
        """
        if self.size > MAX_MEMBER:
            raise PrefixcapError(f"{self.place}: larger than {MAX_MEMBER >> 30} GiB")
        with open_file(self.shard) as file:
            try:
                file.seek(self.offset)
                content = file.read(self.size)
            except OSError as error:
                raise PrefixcapError(f"{self.place}: cannot be read: {error.strerror}") from error
        if len(content) != self.size:
            raise PrefixcapError(f"{self.place}: the shard has become shorter")
        return content


def find_shards(path: str) -> list[Path]:
    """Return the shards that a path means: a file, a folder's, or those of a pattern in braces.

    Raises:
        PrefixcapError: If there is none, one does not exist, or there are more than `MAX_SHARDS`.
    """
    place = expanded(path)
    if place.is_dir():
        shards = sorted(place.rglob("*.tar"))
        if not shards:
            raise PrefixcapError(f"{place}: the folder has no shard (a name ending in .tar)")
    else:
        shards = [expanded(name) for name in _expand(path)]
    for shard in shards:
        check_file(shard, "the shard")
    return shards


def _expand(pattern: str) -> list[str]:
    """Expand braces as a shell does: `a-{000..002}.tar` and `{train,val}.tar`."""
    match = _BRACES.search(pattern)
    if match is None:
        return [pattern]
    bounds = _RANGE.fullmatch(match[1])
    if bounds is None and "," not in match[1]:
        raise PrefixcapError(
            f"{shown(pattern)}: {match[0]} is neither a range such as {{000..012}} nor a list such "
            "as {train,val}"
        )
    parts = _range(bounds[1], bounds[2]) if bounds else match[1].split(",")
    ends = _expand(pattern[match.end() :])
    if len(parts) * len(ends) > MAX_SHARDS:
        raise PrefixcapError(f"{shown(pattern)} means more than {MAX_SHARDS:,} shards")
    return [f"{pattern[: match.start()]}{part}{end}" for part in parts for end in ends]


def _range(first: str, last: str) -> list[str]:
    low, high = int(first[:10]), int(last[:10])
    count = min(high - low, MAX_SHARDS) + 1  # one too many is noticed
    return [f"{number:0{len(first)}d}" for number in range(low, low + count)] or [first]


def members(shard: Path) -> Iterator[Member]:
    """Yield the regular files of a shard, by reading its headers.

    Raises:
        PrefixcapError: If it is no tar archive, compressed, cut off or broken.
    """
    with open_file(shard, "the shard") as file:
        begin = file.read(6)
        if begin.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")):
            raise PrefixcapError(
                f"{shard}: a compressed archive, in which members cannot be read one by one: "
                "decompress it, for example with gunzip"
            )
        file.seek(0)
        try:
            yield from _headers(shard, file)
        except PrefixcapError:
            raise
        except Exception as error:  # tarfile raises many kinds of errors for broken files
            raise PrefixcapError(
                f"{shard}: not a complete tar archive: {describe(error)}"
            ) from error


def _headers(shard: Path, file: BufferedReader) -> Iterator[Member]:
    with tarfile.open(fileobj=file, mode="r:") as archive:
        reached = -1
        while (header := archive.next()) is not None:
            # they would all stay in memory
            archive.members.clear()  # type: ignore[attr-defined]
            # Python's reader may go back, and never end, for a negative size
            if header.size < 0 or archive.offset <= reached:
                raise PrefixcapError(f"{shard}: not a complete tar archive: a size is negative")
            reached = archive.offset
            if not is_utf8(header.name):
                raise PrefixcapError(f"{shard}: the name {shown(header.name)} is not in UTF-8")
            if header.isreg() and not header.issparse():
                yield Member(shard, header.name, header.offset_data, header.size)
        file.seek(archive.offset)
        if file.read(tarfile.BLOCKSIZE).strip(b"\0"):  # Python takes it for the end
            place = f"the header at byte {archive.offset} is broken"
            raise PrefixcapError(f"{shard}: not a complete tar archive: {place}")
