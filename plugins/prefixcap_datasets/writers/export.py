"""Export a data set: check what can be written, then write a folder that appears when complete."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefixcap.captioning.encode_images import ENCODE_BATCH, checked, iter_encoded
from prefixcap.errors import PrefixcapError, listed, nearest, shown
from prefixcap.interfaces.dataset import Dataset, known_split
from prefixcap.interfaces.encoder import Encoder
from prefixcap.plugin import specs
from prefixcap.util.storage.temporary import temporary_folder
from prefixcap_datasets.configs import (
    ClipCapPickles,
    Coco,
    Flickr,
    Jsonl,
    Karpathy,
    WebDataset,
)
from prefixcap_datasets.entries import WHOLE
from prefixcap_datasets.writers.archives import write_clipcap, write_webdataset
from prefixcap_datasets.writers.images import (
    MODES,
    NONE,
    ExportedImage,
    ImageFolder,
    check_files,
    exported_images,
)
from prefixcap_datasets.writers.texts import write_coco, write_flickr, write_jsonl, write_karpathy

if TYPE_CHECKING:
    import numpy as np

WEBDATASET, CLIPCAP, JSONL = WebDataset.name, ClipCapPickles.name, Jsonl.name
READERS = {each.name: each for each in (Coco, Karpathy, Flickr, Jsonl, WebDataset, ClipCapPickles)}
WRITERS = {Coco.name: write_coco, Karpathy.name: write_karpathy, Flickr.name: write_flickr}


def export_dataset(
    dataset: Dataset,
    format_: str,
    out: Path,
    *,
    splits: Sequence[str] = (),
    images: str = "link",
    encoder: Encoder | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """Write a data set in a format that this plugin reads.

    Args:
        dataset: The data set.
        format_: One of `READERS`.
        out: The folder, which must be new or empty, and appears when it is complete.
        splits: The splits to write; all by default.
        images: "link" for hard links to image files where the file system can, and copies where it
            cannot; "copy"; or "none".
        encoder: Makes the features of `clipcap` and `jsonl`, instead of the data set's own.
        progress: Called with the number of images done.

    Returns:
        The numbers of images by split, and of those linked, copied and drawn.

    Raises:
        PrefixcapError: If the format cannot hold the data set, an image or feature is missing, or
            the folder is not empty.
    """
    check_settings(format_, out, images, has_encoder=encoder is not None)
    chosen = list(exported_images(dataset, splits or dataset.splits, named=format_ != CLIPCAP))
    _check_captions(format_, chosen)
    if images != NONE and format_ != CLIPCAP:
        check_files(chosen)
    rows = _rows(format_, chosen, encoder)
    files = ImageFolder(images, progress)
    out = out.resolve()
    with temporary_folder(out.parent) as place:
        folder = place / "export"
        folder.mkdir()
        if format_ == CLIPCAP:
            assert rows is not None
            write_clipcap(folder, chosen, _counted(rows, progress))
        elif format_ == JSONL:
            write_jsonl(folder, chosen, files, rows)
        elif format_ == WEBDATASET:
            write_webdataset(folder, chosen, files)
        else:
            WRITERS[format_](folder, chosen, files)
        if out.exists():
            out.rmdir()  # it is empty
        folder.rename(out)
    sizes: dict[str, int] = {}
    for image in chosen:
        sizes[image.split] = sizes.get(image.split, 0) + 1
    captions = sum(len(image.captions) for image in chosen)
    return {"splits": sizes, "captions": captions, "images": files.counts}


def spec_of(format_: str, out: Path) -> str:
    """Return the spec of an exported data set."""
    return specs.to_spec(READERS[format_](path=str(out)))


def check_settings(format_: str, out: Path, images: str, *, has_encoder: bool) -> None:
    """Check what is known before the data set is opened.

    Raises:
        PrefixcapError: If a setting is unknown, does not go with the format, or the folder is not
            empty.
    """
    if format_ not in READERS:
        raise PrefixcapError(f"--format: there is no format {format_!r}{nearest(format_, READERS)}")
    if images not in MODES:
        raise PrefixcapError(f"--images: {images!r} is unknown{nearest(images, MODES)}")
    if images == NONE and format_ == WEBDATASET:
        raise PrefixcapError("--images none: a sample of WebDataset is an image")
    if has_encoder and format_ not in (JSONL, CLIPCAP):
        raise PrefixcapError(f"--encoder: {format_} has no features; {JSONL} and {CLIPCAP} have")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise PrefixcapError(f"--out {out} already exists: give a new or empty folder")


def _check_captions(format_: str, images: Sequence[ExportedImage]) -> None:
    without = [shown(image.item.id) for image in images if not image.captions]
    if without and format_ != WEBDATASET:
        raise PrefixcapError(
            f"the format {format_} needs captions, and {len(without)} images have none "
            f"({listed(without)}); {WEBDATASET} does not"
        )
    splits = dict.fromkeys(image.split for image in images)
    if format_ == CLIPCAP:
        others = [split for split in splits if not known_split(split) and split != WHOLE]
        if others:
            raise PrefixcapError(
                f"the format {CLIPCAP} names files by their splits, which must be train, val or "
                f"test, not {listed(others)}: choose others with --split"
            )
    lower = [split.lower() for split in splits]
    if format_ in ("coco", "karpathy") and len(set(lower)) < len(lower):
        raise PrefixcapError(
            f"the format {format_} has splits in lower case, in which two of {listed(splits)} are "
            "the same: choose one with --split"
        )


def _rows(
    format_: str, images: Sequence[ExportedImage], encoder: Encoder | None
) -> Iterator[np.ndarray] | None:
    """Return the features of images, one by one; None if they have none and need none."""
    items = [image.item for image in images]
    if format_ not in (JSONL, CLIPCAP):
        return None
    if encoder is not None:
        batches = iter_encoded(encoder, items, batch_size=ENCODE_BATCH)
        found = (checked(each).feature for batch in batches for each in batch)
        return (feature.numpy() for feature in found if feature is not None)
    if all(item.embedding is not None for item in items):
        return (item.embedding() for item in items if item.embedding is not None)
    if format_ == CLIPCAP:
        raise PrefixcapError(f"{CLIPCAP} is a format of features: name an encoder by --encoder")
    return None


def _counted(rows: Iterator[np.ndarray], progress: Callable[[int], None]) -> Iterator[np.ndarray]:
    for number, row in enumerate(rows, 1):
        progress(number)
        yield row
