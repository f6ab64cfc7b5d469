"""Encode images into features, batch by batch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Union

import attrs

from prefixcap.errors import PrefixcapError, shown
from prefixcap.interfaces.dataset import NO_INDEX, ImageItem
from prefixcap.interfaces.encoder import Encoder, EncoderConfig
from prefixcap.plugin.registry import default_registry
from prefixcap.util.images import open_image, read_image, upright_rgb
from prefixcap.util.runtime import usable_cores
from prefixcap.util.text_files import read_text

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor


ENCODE_BATCH = 64
"""The default number of images that are encoded together."""

READERS = 16
"""The largest number of threads that read images."""

Doubts = Callable[["Image.Image"], str | None]
"""Returns why an RGB image is unlike those that the encoder was trained on, if it is."""
Picture = Union[str, Path, "Image.Image", ImageItem]


@attrs.frozen(kw_only=True, eq=False)
class EncodedImage:
    """An image with its feature (D) or (N,D), float32, on the CPU, or the error instead.

    `doubt` is why it is unlike the images that the encoder was trained on, if it is.
    """

    item: ImageItem
    feature: Tensor | None = None
    error: PrefixcapError | None = None
    doubt: str | None = None


@attrs.define
class _ReadImage:
    """An image as the encoder takes it, or the error."""

    pixels: Tensor | None = None
    error: PrefixcapError | None = None
    doubt: str | None = None


def as_item(image: Picture, number: int) -> ImageItem:
    """Return a path, a PIL image or an item as an item; PIL images are named by their number."""
    if isinstance(image, ImageItem):
        return image
    if isinstance(image, (str, Path)):
        path = Path(image)
        return ImageItem(id=path.name, index=NO_INDEX, path=path, open=lambda: open_image(path))
    if not hasattr(image, "convert"):  # a PIL image, which is not imported for this
        kind = type(image).__name__
        raise PrefixcapError(f"image {number} must be a path or a PIL image, not {kind}")
    # a caller's image is not closed
    return ImageItem(
        id=str(number), index=NO_INDEX, open=lambda: upright_rgb(image, f"image {number}")
    )


def read_ids(path: Path, rows: int) -> list[str]:
    """Read the ids of the images of a file of features: a text file of one id per row.

    Raises:
        PrefixcapError: If the file cannot be read, has another number of lines, or a line has no
            id or that of another line.
    """
    lines = read_text(path, "the image ids").removesuffix("\n").split("\n")
    ids = [line.removesuffix("\r") for line in lines]
    if len(ids) != rows:
        raise PrefixcapError(f"{path}: there are {len(ids)} ids for {rows} rows of features")
    seen: dict[str, int] = {}
    for number, image in enumerate(ids, 1):
        if not image.strip():
            raise PrefixcapError(f"{path}, line {number}: there is no id")
        if seen.setdefault(image, number) != number:
            raise PrefixcapError(
                f"{path}, line {number}: the image {shown(image)} is named twice, also in line "
                f"{seen[image]}"
            )
    return ids


def encode(
    encoder: str | EncoderConfig | Encoder,
    images: Sequence[Picture],
    *,
    batch_size: int = ENCODE_BATCH,
    on_error: Literal["raise", "skip"] = "raise",
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Encode images into features (B,D) or (B,N,D), float32, on the CPU.

    Args:
        encoder: The image encoder, its config or its spec.
        images: B paths, PIL images or items of a data set.
        batch_size: The number of images that are encoded together.
        on_error: "skip" gives an image that cannot be read a row of NaN.
        progress: Called after every batch with the number of images done and that of all images.

    Raises:
        PrefixcapError: If the encoder is unknown, there is no image, none can be read, or (without
            "skip") one cannot be read or has no finite feature.
    """
    if not isinstance(encoder, Encoder):
        encoder = default_registry().parse(EncoderConfig, encoder).build()
    items = [as_item(image, number) for number, image in enumerate(images)]
    done: list[EncodedImage] = []
    for batch in iter_encoded(encoder, items, batch_size=batch_size):
        done += batch if on_error == "skip" else map(checked, batch)
        if progress is not None:
            progress(len(done), len(items))
    return stacked(done)


def stacked(images: Sequence[EncodedImage]) -> Tensor:
    """Stack the features of B images to (B,D) or (B,N,D), with NaN for those that have none.

    Raises:
        PrefixcapError: If no image has one.
    """
    import torch

    rows = [image.feature for image in images]
    example = next((row for row in rows if row is not None), None)
    if example is None:
        reason = "could be read" if images else "was given"
        raise PrefixcapError(f"no image {reason}, so there is nothing to encode")
    missing = torch.full_like(example, float("nan"))
    return torch.stack([missing if row is None else row for row in rows])


def iter_encoded(
    encoder: Encoder,
    items: Sequence[ImageItem],
    *,
    batch_size: int = ENCODE_BATCH,
    doubts: Doubts | None = None,
) -> Iterator[list[EncodedImage]]:
    """Encode images, and yield those of each batch when it is done.

    Several threads read the next batch while this one is encoded (Pillow decodes and resizes
    without Python's lock), so no more than two batches are in memory. An image that cannot be
    read, or whose feature is not finite, has an error, and the others of its batch a feature.
    """
    import torch

    starts = range(0, len(items), batch_size)
    batches = (items[start : start + batch_size] for start in starts)
    for batch, read in _read_ahead(partial(_read, encoder, doubts), batches):
        readable = [image.pixels for image in read if image.pixels is not None]
        with torch.inference_mode():
            encoded = encoder.encode(_stack(readable)).float().cpu() if readable else torch.empty(0)
        # Cloned, because tensors created in inference mode cannot take part in training.
        rows = iter(encoded.clone())
        yield [
            _encoded(item, image, None if image.pixels is None else next(rows))
            for item, image in zip(batch, read, strict=True)
        ]


def checked(image: EncodedImage) -> EncodedImage:
    """Return an image that has a feature; raise the error of one that has none."""
    if image.error is not None:
        raise image.error
    return image


def _encoded(item: ImageItem, read: _ReadImage, row: Tensor | None) -> EncodedImage:
    error = read.error
    if row is not None and not row.isfinite().all():
        row, error = None, PrefixcapError(f"{item.path or item.id}: its feature is not finite")
    return EncodedImage(item=item, feature=row, error=error, doubt=read.doubt)


def _read_ahead(
    read: Callable[[ImageItem], _ReadImage], batches: Iterator[Sequence[ImageItem]]
) -> Iterator[tuple[Sequence[ImageItem], list[_ReadImage]]]:
    """Read batches of images by several threads, one batch ahead of the one that is yielded."""
    pool = ThreadPoolExecutor(min(usable_cores(), READERS), "read-images")
    ahead: deque[tuple[Sequence[ImageItem], list[Future[_ReadImage]]]] = deque()
    try:
        for batch in batches:
            ahead.append((batch, [pool.submit(read, item) for item in batch]))
            if len(ahead) > 1:
                items, reading = ahead.popleft()
                yield items, [image.result() for image in reading]
        for items, reading in ahead:
            yield items, [image.result() for image in reading]
    finally:
        pool.shutdown(cancel_futures=True)


def _read(encoder: Encoder, doubts: Doubts | None, item: ImageItem) -> _ReadImage:
    opener, place = item.open, str(item.path or item.id)
    result = _ReadImage()

    def read() -> Image.Image:
        assert opener is not None
        image = read_image(opener, place)
        if doubts is not None and (doubt := doubts(image)) is not None:
            result.doubt = f"{place}: {doubt}"
        return image

    try:  # a plugin's data set or encoder may open images in its own way
        result.pixels = encoder.preprocess(
            item if opener is None else attrs.evolve(item, open=read)
        )
    except PrefixcapError as error:
        result.error = error
    except (OSError, ValueError, SyntaxError) as error:
        reason = str(error) or type(error).__name__
        result.error = PrefixcapError(f"{place}: the image cannot be read: {reason}")
    return result


def _stack(tensors: Sequence[Tensor]) -> Tensor:
    import torch

    shapes = {tuple(tensor.shape) for tensor in tensors}
    if len(shapes) > 1:
        raise PrefixcapError(f"images of one batch have different shapes: {sorted(shapes)}")
    return torch.stack(list(tensors))
