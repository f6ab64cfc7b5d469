"""The images of an export: what they are called, and how their files get there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from pathlib import Path, PurePosixPath

import attrs

from prefixcap.captioning.image_paths import SUFFIXES
from prefixcap.errors import PrefixcapError, shown
from prefixcap.interfaces.dataset import Dataset, ImageItem
from prefixcap.util.images import check_image_file, read_image
from prefixcap_datasets.image_files import is_utf8

LINK, COPY, NONE = MODES = ("link", "copy", "none")


@attrs.frozen(kw_only=True)
class ExportedImage:
    """An image with its captions and split; `name` is its file's, which is its id when read."""

    name: str
    split: str
    captions: tuple[str, ...]
    item: ImageItem


def exported_images(
    dataset: Dataset, splits: Iterable[str], *, named: bool = True
) -> Iterator[ExportedImage]:
    """Yield the images of splits, in their order.

    Args:
        dataset: The data set.
        splits: Some of its splits.
        named: Whether each image needs a name for a file, besides its id.

    Raises:
        PrefixcapError: If an id cannot be a file's name, or two images would have one name.
    """
    seen: set[str] = set()
    for split in splits:
        for example in dataset.examples(split):
            image = example.image
            name = _file_name(image) if named else image.id
            if name in seen:
                raise PrefixcapError(f"two images would have the name {shown(name)}")
            seen.add(name)
            yield ExportedImage(name=name, split=split, captions=example.references, item=image)


def _file_name(image: ImageItem) -> str:
    """Return an image's id, with the ending of what is written if it has none of an image."""
    path = PurePosixPath(image.id)
    leads_out = path.is_absolute() or ".." in path.parts
    if leads_out or not path.name or "\0" in image.id or not is_utf8(image.id):
        raise PrefixcapError(
            f"the image {shown(image.id)}: its id cannot be the name of a file in a folder"
        )
    has_ending = path.name.lower().endswith(SUFFIXES)
    if image.path is None and image.content is None:  # drawn, and so written as PNG
        return str(path.with_suffix(".png")) if has_ending else f"{image.id}.png"
    if has_ending or image.path is None:
        return image.id
    return f"{image.id}{image.path.suffix}"


def check_files(images: Iterable[ExportedImage]) -> None:
    """Check that images have files with content, or can be drawn.

    Raises:
        PrefixcapError: If one has not.
    """
    for image in images:
        item = image.item
        try:
            if item.path is not None:
                check_image_file(item.path)
            elif item.content is None and item.open is None:
                raise PrefixcapError(f"the data set has no image of {shown(item.id)}")
        except PrefixcapError as error:
            raise PrefixcapError(f"{error}; --images none exports the rest") from error


@attrs.define
class ImageFolder:
    """Writes image files, as links or copies of those that there are.

    Attributes:
        mode: "link", for hard links where the file system can, "copy", or "none".
        progress: Called with the number of images done.
        counts: How many were linked, copied and drawn.
    """

    mode: str
    progress: Callable[[int], None]
    counts: dict[str, int] = attrs.field(factory=lambda: {"linked": 0, "copied": 0, "drawn": 0})

    def put(self, image: ExportedImage, path: Path) -> None:
        """Write an image's file, unless none are wanted."""
        if self.mode == NONE:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        source = image.item.path
        if source is None:
            path.write_bytes(self.content(image))
        elif self.mode == LINK and _linked(source, path):
            self._count("linked")
        else:
            shutil.copy2(source, path)  # with its times, which identify the files of large data
            self._count("copied")

    def content(self, image: ExportedImage) -> bytes:
        """Return the content of an image's file, which for a drawn one is a PNG."""
        item = image.item
        read = item.content if item.path is None else item.path.read_bytes
        if read is not None:
            self._count("copied")
            return read()
        assert item.open is not None
        file = BytesIO()
        read_image(item.open, item.id).save(file, "PNG")
        self._count("drawn")
        return file.getvalue()

    def _count(self, how: str) -> None:
        self.counts[how] += 1
        self.progress(sum(self.counts.values()))


def _linked(source: Path, path: Path) -> bool:
    try:
        os.link(os.path.realpath(source), path)
    except OSError:  # another file system, or one without links
        return False
    return True
