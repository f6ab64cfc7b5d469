"""Read every image of a data set once, by several threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import blake2b

import attrs

from prefixcap.errors import PrefixcapError, describe
from prefixcap.interfaces.dataset import ImageItem
from prefixcap.util.images import read_image
from prefixcap.util.runtime import usable_cores
from prefixcap_datasets.commands.near import difference_hash

THREADS = 16
_TOGETHER = 1024  # images that wait for a thread


@attrs.define(kw_only=True)
class SeenImage:
    """What reading an image and its embedding showed.

    Attributes:
        content: A hash of its pixels, or else of its embedding; None if neither could be read.
        look: Its difference hash, if asked for.
        is_missing: Whether its file does not exist.
        error: Why the image cannot be read; "" if it can, or is not there.
        embedding_error: Why its embedding cannot be read.
    """

    content: bytes | None = None
    look: int | None = None
    is_missing: bool = False
    error: str = ""
    embedding_error: str = ""


def seen_images(
    items: Sequence[ImageItem], *, images: bool, looks: bool, progress: Callable[[int], None]
) -> list[SeenImage]:
    """Read images and embeddings.

    Args:
        items: The images.
        images: Whether to read images too.
        looks: Whether to compute difference hashes.
        progress: Called with the number of images done.
    """
    if not any(item.embedding or (images and item.open) for item in items):
        return [SeenImage() for _ in items]
    return list(_seen(items, partial(_see, images=images, looks=looks), progress))


def _seen(
    items: Sequence[ImageItem],
    see: Callable[[ImageItem], SeenImage],
    progress: Callable[[int], None],
) -> Iterator[SeenImage]:
    pool = ThreadPoolExecutor(min(usable_cores(), THREADS), "read-images")
    done = 0
    try:
        for start in range(0, len(items), _TOGETHER):
            for seen in pool.map(see, items[start : start + _TOGETHER]):
                done += 1
                progress(done)
                yield seen
    finally:
        pool.shutdown(cancel_futures=True)


def _see(item: ImageItem, *, images: bool, looks: bool) -> SeenImage:
    seen = SeenImage()
    if item.embedding is not None:
        try:
            seen.content = _hash(b"embedding", item.embedding().tobytes())
        except Exception as error:  # one image never ends the check
            seen.embedding_error = _sentence(error)
    if not images or item.open is None:
        return seen
    try:
        if item.path is not None and not item.path.exists():
            seen.is_missing = True
            return seen
        image = read_image(item.open, str(item.path or item.id))
        seen.content = _hash(repr(image.size).encode(), image.tobytes())
        seen.look = difference_hash(image) if looks else None
    except Exception as error:
        seen.error = _sentence(error)
    return seen


def _hash(kind: bytes, content: bytes) -> bytes:
    return blake2b(content, digest_size=16, key=kind).digest()


def _sentence(error: Exception) -> str:
    return str(error) if isinstance(error, PrefixcapError) else describe(error)
