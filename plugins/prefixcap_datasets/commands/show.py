"""A sample of a data set, for `prefixcap data show`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any

from prefixcap.errors import PrefixcapError, describe
from prefixcap.interfaces.dataset import Dataset, ImageItem
from prefixcap.util.images import read_image
from prefixcap.util.text import truncated, visible

LONGEST = 500
"""Characters of a caption that are shown."""


def sample(
    dataset: Dataset, splits: Sequence[str], count: int, seed: int
) -> Iterator[dict[str, Any]]:
    """Yield some images of splits, in the order of the data set.

    Args:
        dataset: The data set.
        splits: The splits.
        count: How many images, of all splits together.
        seed: The seed of the choice.
    """
    places = [(split, example) for split in splits for example in dataset.examples(split)]
    chosen = sorted(Random(seed).sample(range(len(places)), min(count, len(places))))
    for split, example in (places[i] for i in chosen):
        image = example.image
        yield {
            "id": image.id,
            "split": split,
            "file": None if image.path is None else str(image.path),
            **_seen(image),
            "captions": list(example.references),
        }


def _seen(image: ImageItem) -> dict[str, Any]:
    """Return the size (width, height) in pixels, the embedding's shape, and what went wrong."""
    seen: dict[str, Any] = {"size": None, "embedding": None, "error": None}
    try:
        if image.embedding is not None:
            seen["embedding"] = list(image.embedding().shape)
        if image.open is not None:
            seen["size"] = list(read_image(image.open, str(image.path or image.id)).size)
    except Exception as error:  # the others are shown all the same
        seen["error"] = str(error) if isinstance(error, PrefixcapError) else describe(error)
    return seen


def lines(image: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines about an image of a sample."""
    size = image["size"]
    parts = [f"{image['split']}: {image['id']}"]
    parts += [f"{size[0]} x {size[1]} pixels"] if size else []
    parts += [f"embedding of shape {tuple(image['embedding'])}"] if image["embedding"] else []
    parts += [image["file"]] if image["file"] else []
    yield visible(", ".join(parts))
    if image["error"]:
        yield f"  error: {visible(image['error'])}"
    yield from (f"  {visible(truncated(text, LONGEST))}" for text in image["captions"])
