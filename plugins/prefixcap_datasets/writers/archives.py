"""Write the formats `webdataset` and `clipcap`."""

from __future__ import annotations

import json
import pickle
import re
import tarfile
from collections.abc import Iterator, Sequence
from io import BytesIO
from itertools import groupby, islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from prefixcap.errors import PrefixcapError, shown
from prefixcap_datasets.writers.images import ExportedImage, ImageFolder

if TYPE_CHECKING:
    import numpy as np

MOST_IMAGES, MOST_BYTES = 10_000, 10**9
"""Of a shard; a larger one is ended, and another begun."""


def write_webdataset(folder: Path, images: Sequence[ExportedImage], files: ImageFolder) -> None:
    """Write shards of each split: images, each with a JSON file of its captions and split.

    Raises:
        PrefixcapError: If an image's name has a full stop before its ending, or differs from
            another name in its ending only: either would make another sample of it.
    """
    keys: set[str] = set()
    for image in images:
        key = _key(image.name)
        if key in keys or "." in PurePosixPath(key).name or image.name.startswith("./"):
            raise PrefixcapError(
                f"the image {shown(image.name)}: a sample of WebDataset is named by what is before "
                "the first full stop, and no other image may have that name"
            )
        keys.add(key)
    for split, group in groupby(images, lambda image: image.split):
        rest = list(group)
        number = 0
        while rest:
            path = folder / f"{re.sub(r'[^A-Za-z0-9_-]', '_', split)}-{number:06d}.tar"
            rest = rest[_write_shard(path, rest, files) :]
            number += 1


def _key(name: str) -> str:
    return name.removesuffix(PurePosixPath(name).suffix)


def _write_shard(path: Path, images: Sequence[ExportedImage], files: ImageFolder) -> int:
    """Write a shard of the first of some images; return how many."""
    done = 0
    with tarfile.open(path, "w") as shard:
        while done < min(len(images), MOST_IMAGES) and shard.offset < MOST_BYTES:
            image = images[done]
            about = {"captions": image.captions, "split": image.split}
            _add(shard, image.name, files.content(image))
            _add(shard, f"{_key(image.name)}.json", json.dumps(about).encode())
            done += 1
    return done


def _add(shard: tarfile.TarFile, name: str, content: bytes) -> None:
    header = tarfile.TarInfo(name)
    header.size = len(content)
    shard.addfile(header, BytesIO(content))


def write_clipcap(
    folder: Path, images: Sequence[ExportedImage], rows: Iterator[np.ndarray]
) -> None:
    """Write a pickle of each split as ClipCap's `parse_coco.py` does.

    It is a dict with the tensor `clip_embedding`, and a list `captions` of dicts with `image_id`,
    `caption`, `id` and `clip_embedding`, the row. ClipCap writes a row a caption, and finds it by
    its number, so here the captions of an image share theirs.
    """
    import torch

    for split, group in groupby(images, lambda image: image.split):
        chosen = list(group)
        features = torch.stack([torch.from_numpy(row) for row in islice(rows, len(chosen))])
        captions: list[dict[str, Any]] = []
        for row, image in enumerate(chosen):
            for caption in image.captions:
                captions.append(
                    {
                        "image_id": image.item.id,
                        "id": len(captions),
                        "caption": caption,
                        "clip_embedding": row,
                    }
                )
        with (folder / f"clipcap_{split}.pkl").open("wb") as file:
            pickle.dump({"clip_embedding": features, "captions": captions}, file, protocol=4)
