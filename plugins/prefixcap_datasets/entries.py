"""From what files say of images to a data set: splits, distinct images, image files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import final

import attrs

from prefixcap.errors import PrefixcapError, shown
from prefixcap.interfaces.dataset import Example, ImageItem, known_split
from prefixcap.util.images import open_image
from prefixcap.util.text_files import expanded
from prefixcap_datasets.image_files import FileDataset, ImageFiles, Inside, is_folder
from prefixcap_datasets.problems import REPEATED, WITHOUT_CAPTIONS, problem
from prefixcap_datasets.shares import share_of, shares

WHOLE = "all"
"""The split of all images, if no file names splits and none are asked for."""
IMAGE_FOLDERS = (
    *("images", "Images", "Flicker8k_Dataset", "Flickr8k_Dataset"),
    *("flickr30k-images", "flickr30k_images"),
)
"""Where images are looked for, if no other folder is named."""


@attrs.frozen(kw_only=True)
class Source:
    """The settings that all data sets on disk have; see `Jsonl` for their meaning."""

    path: str
    splits: str
    seed: int
    allow_outside: bool

    @property
    def keeps_splits(self) -> bool:
        """Whether the splits are those of the files."""
        return shares(self.splits) is None


@attrs.frozen(kw_only=True)
class Entry:
    """What the files of a data set say of one image.

    Attributes:
        image: The image, with its place in the order of the files as its index.
        captions: Its references; a data set may have none.
        split: Its split, or "" if no file names one.
        place: Where it is named, for errors.
    """

    image: ImageItem
    captions: Sequence[str]
    split: str
    place: str


def assemble(source: Source, place: object, entries: Iterable[Entry]) -> FileDataset:
    """Return the data set of some entries, in their splits or those that the source asks for.

    Args:
        source: The settings.
        place: The name of the data set in errors, such as its folder.
        entries: The entries, each of another image.

    Raises:
        PrefixcapError: If there is no entry, an image appears twice, or only some of a split have
            captions.
    """
    examples: dict[str, list[Example]] = {}
    places: dict[str, str] = {}
    find_share = share_of(source.splits, source.seed)
    for entry in entries:
        name = entry.image.id
        if places.setdefault(name, entry.place) != entry.place:
            sentence = (
                f"{entry.place}: the image {shown(name)} already appears in {places[name]}: keep "
                "one entry with all its captions"
            )
            problem(REPEATED, name, sentence)
        split = find_share(name) if find_share else entry.split or WHOLE
        example = Example(image=entry.image, references=tuple(entry.captions))
        examples.setdefault(split, []).append(example)
    if not examples:
        raise PrefixcapError(f"{place}: the data set has no image")
    for name in _without_captions(examples):
        sentence = (
            f"{places[name]}: the image {shown(name)} has no captions, but others of its split "
            "have some"
        )
        problem(WITHOUT_CAPTIONS, name, sentence)
    return FileDataset(str(place), examples)


def _without_captions(examples: Mapping[str, Sequence[Example]]) -> Iterator[str]:
    """Yield the images without captions of each split in which others have some."""
    for split in examples.values():
        if any(example.references for example in split):
            yield from (example.image.id for example in split if not example.references)


@final
class Pictures:
    """The image files of a data set, which need not exist where features are precomputed.

    Args:
        source: The settings, by which they may also be outside their folders.
        folders: These folders.
    """

    def __init__(self, source: Source, *folders: Path) -> None:
        self._inside = Inside(folders, allow_outside=source.allow_outside)
        self._files = ImageFiles()

    def item(self, name: str, index: int, folder: Path, place: str) -> ImageItem:
        """Return an image that a data file names, whose id is that name.

        Args:
            name: Its file's name, which may have folders.
            index: Its place in the data set's order, which is the row of precomputed features.
            folder: The folder in which its file is looked for.
            place: Where it is named, for errors.

        Raises:
            PrefixcapError: As `Inside.file`.
        """
        path = self._inside.file(folder, name, place)
        if path is None:
            return ImageItem(id=name, index=index)
        self._files.add(path)
        return ImageItem(
            id=name,
            index=index,
            path=path,
            open=partial(open_image, path),
            digest=partial(self._files.digest, path),
        )


def split_in_name(path: Path) -> str:
    """Return the split that a file's name has as a word, or its folder's name is, or ""."""
    for words in (re.split(r"[^a-z]+", path.stem.lower()), [path.parent.name.lower()]):
        found = [word for word in words if known_split(word)]
        if len(found) == 1:
            return found[0]
    return ""


def image_folder(root: Path, named: str, usual: Sequence[str] = IMAGE_FOLDERS) -> Path:
    """Return the folder of the images: the named one, or the first usual one that exists.

    Returns:
        The first usual one, which does not exist, if none does.

    Raises:
        PrefixcapError: If the named one does not exist.
    """
    if named:
        folder = root / expanded(named)
        if not is_folder(folder):
            raise PrefixcapError(f"the folder of images, {folder}, does not exist")
        return folder
    found = (root / name for name in usual if is_folder(root / name))
    return next(found, root / usual[0])
