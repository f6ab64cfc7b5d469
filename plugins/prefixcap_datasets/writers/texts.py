"""Write captions in the formats `coco`, `karpathy`, `flickr` and `jsonl`, and their images."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefixcap.errors import PrefixcapError, listed
from prefixcap.evaluation.image_names import coco_number
from prefixcap.interfaces.dataset import known_split
from prefixcap.util.files import write_text
from prefixcap_datasets.entries import WHOLE
from prefixcap_datasets.flickr import REST
from prefixcap_datasets.writers.images import ExportedImage, ImageFolder

if TYPE_CHECKING:
    import numpy as np

YEAR = 2014
"""The year of COCO whose layout is written, which is that of Karpathy's split file."""


def write_coco(folder: Path, images: Sequence[ExportedImage], files: ImageFolder) -> None:
    """Write COCO's files of captions, with Karpathy's split file beside them.

    As in COCO 2014, the images of train are in `train2014/` and all others in `val2014/`.
    """
    numbers = _numbers(images)
    parts = [
        f"{'train' if known_split(image.split) == 'train' else 'val'}{YEAR}" for image in images
    ]
    for part in (f"train{YEAR}", f"val{YEAR}"):
        chosen = [i for i, each in enumerate(parts) if each == part]
        data = {
            "info": {"description": "Exported by prefixcap in COCO's format", "year": YEAR},
            "licenses": [],
            "images": [{"id": numbers[i], "file_name": images[i].name} for i in chosen],
            "annotations": list(_annotations([(numbers[i], images[i]) for i in chosen], part)),
        }
        _write_json(folder / "annotations" / f"captions_{part}.json", data)
    entries = [
        {"filepath": part, "cocoid": number, **entry}
        for part, number, entry in zip(parts, numbers, _karpathy_entries(images), strict=True)
    ]
    _write_json(folder / "dataset_coco.json", {"images": entries, "dataset": "coco"})
    for image, part in zip(images, parts, strict=True):
        files.put(image, folder / part / image.name)


def write_karpathy(folder: Path, images: Sequence[ExportedImage], files: ImageFolder) -> None:
    """Write a split file of Karpathy's, with the images in `images/`."""
    data = {"images": list(_karpathy_entries(images)), "dataset": "custom"}
    _write_json(folder / "dataset_custom.json", data)
    for image in images:
        files.put(image, folder / "images" / image.name)


def write_flickr(folder: Path, images: Sequence[ExportedImage], files: ImageFolder) -> None:
    """Write Kaggle's `captions.txt`, the lists of Flickr8k's splits, and the images in `Images/`.

    Raises:
        PrefixcapError: If there is a split of another name, for which there is no list.
    """
    names = {"train": "train", "val": "dev", "test": "test"}
    splits = dict.fromkeys(image.split for image in images)
    lists = {known: names[known] for split in splits if (known := known_split(split))}
    others = [split for split in splits if not known_split(split)]
    if others not in ([], [REST]) and list(splits) != [WHOLE]:
        raise PrefixcapError(
            f"the format flickr has lists of train, val and test, but not of {listed(others)}: "
            "choose other splits with --split"
        )
    table = StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("image", "caption"))
    writer.writerows((image.name, caption) for image in images for caption in image.captions)
    write_text(folder / "captions.txt", table.getvalue())
    for known, name in lists.items():
        lines = [f"{image.name}\n" for image in images if known_split(image.split) == known]
        write_text(folder / f"Flickr_8k.{name}Images.txt", "".join(lines))
    for image in images:
        files.put(image, folder / "Images" / image.name)


def write_jsonl(
    folder: Path,
    images: Sequence[ExportedImage],
    files: ImageFolder,
    rows: Iterator[np.ndarray] | None,
) -> None:
    """Write a caption file with the images in `images/`, and their features if there are any."""
    lines = (
        json.dumps(
            {"image": image.name, "split": image.split, "captions": image.captions},
            ensure_ascii=False,
        )
        for image in images
    )
    write_text(folder / "captions.jsonl", "".join(f"{line}\n" for line in lines))
    (folder / "images").mkdir()
    for image in images:
        files.put(image, folder / "images" / image.name)
    if rows is not None:
        _write_rows(folder / "features.npy", rows, len(images))


def _write_rows(path: Path, rows: Iterator[np.ndarray], count: int) -> None:
    """Write features (B,D) or (B,N,D), float32, of which one is in memory at a time."""
    import numpy as np

    file: Any = None
    for index, row in enumerate(rows):
        if file is None:
            file = np.lib.format.open_memmap(path, "w+", np.float32, (count, *row.shape))
        if row.shape != file.shape[1:]:
            raise PrefixcapError(f"features of different shapes: {file.shape[1:]} and {row.shape}")
        file[index] = row
    file.flush()


def _write_json(path: Path, data: Any) -> None:
    write_text(path, json.dumps(data, ensure_ascii=False))


def _numbers(images: Sequence[ExportedImage]) -> list[int]:
    """Return COCO's numbers of images if their names have them, else numbers from 1."""
    found = [coco_number(image.name) for image in images]
    numbers = [number for number in found if number is not None]
    if len(set(numbers)) == len(images):
        return numbers
    return list(range(1, len(images) + 1))


def _annotations(
    images: Sequence[tuple[int, ExportedImage]], part: str
) -> Iterator[dict[str, Any]]:
    # COCO's ids of captions differ between its files
    number = 0 if part.startswith("train") else 10_000_000
    for image_id, image in images:
        for caption in image.captions:
            number += 1
            yield {"id": number, "image_id": image_id, "caption": caption}


def _karpathy_entries(images: Sequence[ExportedImage]) -> Iterator[dict[str, Any]]:
    """Yield Karpathy's entries; tokens are lower-case words without punctuation, as his."""
    number = 0
    for index, image in enumerate(images):
        sentences = [
            {
                "tokens": re.sub(r"[^\w\s]", "", caption.lower()).split(),
                "raw": caption,
                "imgid": index,
                "sentid": number + i,
            }
            for i, caption in enumerate(image.captions)
        ]
        number += len(sentences)
        yield {
            "filename": image.name,
            "imgid": index,
            "split": image.split,
            "sentids": [sentence["sentid"] for sentence in sentences],
            "sentences": sentences,
        }
