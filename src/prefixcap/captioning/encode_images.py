"""Encode images into features, batch by batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Union

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.dataset import NO_INDEX, ImageItem

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from prefixcap.interfaces.encoder import Encoder

ENCODE_BATCH = 64
"""The default number of images that are encoded together."""

Picture = Union[str, Path, "Image.Image", ImageItem]


def as_item(image: Picture, number: int) -> ImageItem:
    """Return a path, a PIL image or an item as an item; PIL images are named by their number."""
    if isinstance(image, ImageItem):
        return image
    if isinstance(image, (str, Path)):
        path = Path(image)
        return ImageItem(id=path.name, index=NO_INDEX, path=path, open=lambda: _open(path))
    return ImageItem(id=str(number), index=NO_INDEX, open=lambda: image)


def _open(path: Path) -> Image.Image:
    from PIL import Image

    return Image.open(path)


def read_ids(path: Path, rows: int) -> list[str]:
    """Read the ids of the images of a file of features, one per line.

    Args:
        path: A text file.
        rows: The number of features.

    Raises:
        PrefixcapError: If the file cannot be read, has another number of lines, or repeats an id.
    """
    try:
        ids = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PrefixcapError(f"{path}: cannot be read as image ids: {error}") from error
    if len(ids) != rows:
        raise PrefixcapError(f"{path}: there are {len(ids)} ids for {rows} rows of features")
    repeated, count = Counter(ids).most_common(1)[0] if ids else ("", 0)
    if count > 1:
        raise PrefixcapError(f"{path}: the image {repeated!r} is named twice")
    return ids


def encode(
    encoder: Encoder,
    items: Sequence[ImageItem],
    *,
    batch_size: int = ENCODE_BATCH,
    on_error: Literal["raise", "skip"] = "raise",
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Encode images.

    Args:
        encoder: The image encoder.
        items: B images.
        batch_size: The number of images that are encoded together.
        on_error: "skip" turns the rows of images that cannot be read into NaN; `is_finite` finds
            the others.
        progress: Called after every batch with the number of images done and that of all images.

    Returns:
        Features (B,D) or (B,N,D), float32, on the CPU.

    Raises:
        PrefixcapError: If there is no image or none can be read, or (without "skip") if an image
            cannot be read or its feature is not finite.
    """
    import torch

    rows = encode_each(encoder, items, batch_size=batch_size, on_error=on_error, progress=progress)
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
    on_error: Literal["raise", "skip"] = "raise",
    progress: Callable[[int, int], None] | None = None,
) -> list[Tensor | None]:
    """Encode images as `encode` does; return None for an image that was skipped."""
    import torch

    features: list[Tensor | None] = []
    for start in range(0, len(items), batch_size):
        inputs = [_read(encoder, item, on_error) for item in items[start : start + batch_size]]
        readable = [tensor for tensor in inputs if tensor is not None]
        with torch.inference_mode():
            rows = encoder.encode(_stack(readable)).float().cpu() if readable else None
        # Cloned, because tensors created in inference mode cannot take part in training.
        each = iter(() if rows is None else zip(rows.clone(), is_finite(rows), strict=True))
        for item, tensor in zip(items[start : start + batch_size], inputs, strict=True):
            row, finite = (None, True) if tensor is None else next(each)
            if not finite and on_error != "skip":
                raise PrefixcapError(f"{item.path or item.id}: its feature is not finite")
            features.append(row if finite else None)
        if progress is not None:
            progress(len(features), len(items))
    return features


def is_finite(features: Tensor) -> Tensor:
    """Return which rows of features (B,D) or (B,N,D) are finite, (B) bool."""
    import torch

    return torch.isfinite(features).flatten(1).all(1)


def _read(encoder: Encoder, item: ImageItem, on_error: str) -> Tensor | None:
    try:
        return encoder.preprocess(item)
    except (OSError, ValueError, SyntaxError, PrefixcapError) as error:
        if on_error == "skip":
            return None
        if isinstance(error, PrefixcapError):
            raise
        place = item.path or item.id
        raise PrefixcapError(
            f"{place}: the image cannot be read: {str(error) or type(error).__name__}"
        ) from error


def _stack(tensors: Sequence[Tensor]) -> Tensor:
    import torch

    shapes = {tuple(tensor.shape) for tensor in tensors}
    if len(shapes) > 1:
        raise PrefixcapError(f"images of one batch have different shapes: {sorted(shapes)}")
    return torch.stack(list(tensors))
