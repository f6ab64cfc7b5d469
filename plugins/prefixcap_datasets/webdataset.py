"""The data set `webdataset`: images and captions in tar shards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property, partial
from hashlib import sha256
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, final

from prefixcap.captioning.image_paths import SUFFIXES
from prefixcap.errors import PrefixcapError, shown
from prefixcap.interfaces.dataset import ImageItem
from prefixcap.util.images import read_image
from prefixcap.util.text_files import MAX_LINE, decode, parse_json
from prefixcap_datasets.entries import Entry, Source, assemble, split_in_name
from prefixcap_datasets.formats.shards import Member, find_shards, members
from prefixcap_datasets.image_files import MAX_HASHED_BYTES, FileDataset
from prefixcap_datasets.problems import stripped

if TYPE_CHECKING:
    from PIL import Image

TEXTS = (".txt", ".json")

Sample = dict[str, Member]
"""The members of one key by their endings; an image's is ""."""


def read_webdataset(source: Source) -> FileDataset:
    """Open the data set; see `WebDataset` for the arguments.

    Raises:
        PrefixcapError: If there are no shards, one is broken, or a caption is not text.
    """
    digests = MemberDigests()
    shards = find_shards(source.path)
    entries = _entries(shards, digests, needs_split=source.keeps_splits)
    return assemble(source, source.path, entries)


def _entries(
    shards: Iterable[Path], digests: MemberDigests, *, needs_split: bool
) -> Iterator[Entry]:
    index = 0
    for shard in shards:
        usual = split_in_name(shard)
        for key, sample in _samples(shard).items():
            if "" not in sample:
                continue
            member = sample[""]
            split, captions = _texts(sample)
            digests.add(member)
            image = ImageItem(
                id=f"{key}{PurePosixPath(member.name).suffix}",
                index=index,
                open=partial(_open, member),
                digest=partial(digests.digest, member),
                content=member.read,
            )
            split = (split or usual) if needs_split else ""
            yield Entry(image=image, captions=captions, split=split, place=member.place)
            index += 1


def _samples(shard: Path) -> dict[str, Sample]:
    """Return a shard's samples by their keys: names up to the first full stop."""
    samples: dict[str, Sample] = {}
    for member in members(shard):
        name = member.name.removeprefix("./")
        folder, _, file = name.rpartition("/")
        stem, dot, ending = file.partition(".")
        ending = f"{dot}{ending}".lower()
        if not stem or ending not in (*SUFFIXES, *TEXTS):
            continue
        sample = samples.setdefault(f"{folder}/{stem}" if folder else stem, {})
        kind = ending if ending in TEXTS else ""
        if kind in sample:
            raise PrefixcapError(
                f"{member.place}: the same sample already has {shown(sample[kind].name)}"
            )
        sample[kind] = member
    return samples


def _texts(sample: Sample) -> tuple[str, list[str]]:
    """Return the split and the captions of a sample, those of its JSON before those of its text."""
    split, captions = "", list[str]()
    if ".json" in sample:
        split, captions = _json(sample[".json"])
    if not captions and ".txt" in sample:
        captions = _text(sample[".txt"]).splitlines()
    return split, [text.strip() for text in captions if text.strip()]


def _text(member: Member) -> str:
    if member.size > MAX_LINE:
        raise PrefixcapError(f"{member.place}: longer than {MAX_LINE >> 20} MiB")
    try:
        return decode(member.read())
    except ValueError as error:
        raise PrefixcapError(f"{member.place}: cannot be read as text: {error}") from error


def _json(member: Member) -> tuple[str, list[str]]:
    try:
        data = parse_json(_text(member), finite=False)  # as img2dataset's, which may have NaN
    except ValueError as error:
        raise PrefixcapError(f"{member.place} is not JSON: {error}") from error
    values: dict[str, Any] = data if isinstance(data, dict) else {}
    split = values.get("split")
    captions = values.get("captions") or values.get("caption") or []
    captions = [captions] if isinstance(captions, str) else captions
    if not isinstance(captions, list) or not all(isinstance(text, str) for text in captions):
        raise PrefixcapError(f"{member.place}: the captions must be texts, not {shown(captions)}")
    kept = [text for caption in captions if (text := stripped(caption, member.place))]
    return split.strip() if isinstance(split, str) else "", kept


def _open(member: Member) -> Image.Image:
    from PIL import Image

    return read_image(lambda: Image.open(BytesIO(member.read())), member.place)


@final
class MemberDigests:
    """Digests of images in shards, by content or, if they are large together, by their place."""

    def __init__(self) -> None:
        self._members: list[Member] = []

    def add(self, member: Member) -> None:
        """Add an image, before the first digest."""
        self._members.append(member)

    def digest(self, member: Member) -> str:
        """Return a hash of an image."""
        if self._hash_contents:
            return sha256(member.read()).hexdigest()
        state = member.shard.stat()
        return repr((member.shard.name, state.st_size, state.st_mtime_ns, member.offset))

    @cached_property
    def _hash_contents(self) -> bool:
        return sum(member.size for member in self._members) <= MAX_HASHED_BYTES
