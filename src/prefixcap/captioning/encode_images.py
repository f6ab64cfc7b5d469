"""Encode images into features, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Union

import attrs

from prefixcap.errors import PrefixcapError, shown
from prefixcap.interfaces.dataset import NO_INDEX, ImageItem
from prefixcap.interfaces.encoder import Encoder, EncoderConfig
from prefixcap.plugin.registry import default_registry
from prefixcap.util.images import open_image, read_image, upright_rgb
from prefixcap.util.text_files import read_text

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor


ENCODE_BATCH = 64
"""The default number of images that are encoded together."""

Failed = Callable[[ImageItem, PrefixcapError], None]
"""Gets an image that cannot be read, and the error."""
Seen = Callable[[ImageItem, "Image.Image"], None]
OnError = Literal["raise", "skip"] | Failed
Picture = Union[str, Path, "Image.Image", ImageItem]


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
    seen: Seen | None = None,
) -> Tensor:
    """Encode images into features (B,D) or (B,N,D), float32, on the CPU.

    Args:
        encoder: The image encoder, its config or its spec.
        images: B paths, PIL images or items of a data set.
        batch_size: The number of images that are encoded together.
        on_error: "skip" gives an image that cannot be read a row of NaN.
        progress: Called after every batch with the number of images done and that of all images.
        seen: Called with each item and its image, upright and in RGB, when it is read.

    Raises:
        PrefixcapError: If the encoder is unknown, there is no image, none can be read, or (without
            "skip") one cannot be read or has no finite feature.
    """
    import torch

    if not isinstance(encoder, Encoder):
        encoder = default_registry().parse(EncoderConfig, encoder).build()
    items = [as_item(image, number) for number, image in enumerate(images)]
    rows = encode_each(
        encoder, items, batch_size=batch_size, on_error=on_error, progress=progress, seen=seen
    )
    example = next((row for row in rows if row is not None), None)
    if example is None:
        reason = "could be read" if items else "was given"
        raise PrefixcapError(f"no image {reason}, so there is nothing to encode")
    missing = torch.full_like(example, float("nan"))
    return torch.stack([missing if row is None else row for row in rows])


def encode_each(
    encoder: Encoder,
    items: Sequence[ImageItem],
    *,
    batch_size: int = ENCODE_BATCH,
    on_error: OnError = "raise",
    progress: Callable[[int, int], None] | None = None,
    seen: Seen | None = None,
) -> list[Tensor | None]:
    """Encode B images batch by batch; return a feature (D) or (N,D), float32, on the CPU for each.

    An image that cannot be read raises an error; with "skip", or a function that gets the error
    and returns, it becomes None. `progress` is that of `encode`, and `seen` gets every image that
    is read.
    """
    import torch

    fail = _HANDLERS[on_error] if isinstance(on_error, str) else on_error
    features: list[Tensor | None] = []
    for start in range(0, len(items), batch_size):
        batch = items[start : start + batch_size]
        inputs = [_read(encoder, item, fail, seen) for item in batch]
        readable = [tensor for tensor in inputs if tensor is not None]
        with torch.inference_mode():
            encoded = encoder.encode(_stack(readable)).float().cpu() if readable else torch.empty(0)
        # Cloned, because tensors created in inference mode cannot take part in training.
        rows = iter(encoded.clone())
        for item, tensor in zip(batch, inputs, strict=True):
            row = None if tensor is None else next(rows)
            if row is not None and not torch.isfinite(row).all():
                place = item.path or item.id
                fail(item, PrefixcapError(f"{place}: its feature is not finite"))
                row = None
            features.append(row)
        if progress is not None:
            progress(len(features), len(items))
    return features


def _read(encoder: Encoder, item: ImageItem, fail: Failed, seen: Seen | None) -> Tensor | None:
    opener, place = item.open, str(item.path or item.id)

    def read() -> Image.Image:
        assert opener is not None
        image = read_image(opener, place)
        if seen is not None:
            seen(item, image)
        return image

    try:  # a plugin's data set or encoder may open images in its own way
        return encoder.preprocess(item if opener is None else attrs.evolve(item, open=read))
    except PrefixcapError as error:
        fail(item, error)
    except (OSError, ValueError, SyntaxError) as error:
        reason = str(error) or type(error).__name__
        fail(item, PrefixcapError(f"{place}: the image cannot be read: {reason}"))
    return None


def _raise(item: ImageItem, error: PrefixcapError) -> None:
    raise error


def _skip(item: ImageItem, error: PrefixcapError) -> None:
    pass


_HANDLERS: dict[str, Failed] = {"raise": _raise, "skip": _skip}


def _stack(tensors: Sequence[Tensor]) -> Tensor:
    import torch

    shapes = {tuple(tensor.shape) for tensor in tensors}
    if len(shapes) > 1:
        raise PrefixcapError(f"images of one batch have different shapes: {sorted(shapes)}")
    return torch.stack(list(tensors))
