"""From images to features, a batch at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from prefixcap.errors import PrefixcapError

if TYPE_CHECKING:
    from torch import Tensor

    from prefixcap.interfaces.dataset import ImageItem
    from prefixcap.interfaces.encoder import Encoder

ENCODE_BATCH = 64


def read_ids(path: Path, rows: int) -> list[str]:
    """Reads the name of each feature's image, an id a line.

    Args:
        path: a text file.
        rows: how many features there are.

    Raises:
        PrefixcapError: the file cannot be read, has another number of lines, or names one twice.
    """
    try:
        ids = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PrefixcapError(f"{path}: cannot be read as images' ids: {error}") from error
    if len(ids) != rows:
        raise PrefixcapError(f"{path}: there are {len(ids)} ids for {rows} rows of features")
    twice, times = Counter(ids).most_common(1)[0] if ids else ("", 0)
    if times > 1:
        raise PrefixcapError(f"{path}: the image {twice!r} is named twice")
    return ids


def encode(
    encoder: Encoder,
    items: Sequence[ImageItem],
    *,
    batch_size: int = ENCODE_BATCH,
    on_error: Literal["raise", "skip"] = "raise",
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Encodes images.

    Args:
        encoder: the image encoder.
        items: B images.
        batch_size: how many images are encoded at once.
        on_error: "skip" goes on without an image that cannot be read: its row is NaN, so that
            rows still fit the items; `is_finite` finds the others.
        progress: called after every batch with the images done and all images.

    Returns:
        Features (B,D) or (B,N,D), float32, on the CPU.

    Raises:
        PrefixcapError: an image cannot be read or its feature is not finite (its path is named),
            none can be read, or there is none.
    """
    import torch

    found = encode_each(encoder, items, batch_size=batch_size, on_error=on_error, progress=progress)
    example = next((row for row in found if row is not None), None)
    if example is None:
        reason = "could be read" if items else "was given"
        raise PrefixcapError(f"no image {reason}, so there is nothing to encode")
    missing = torch.full_like(example, float("nan"))
    return torch.stack([missing if row is None else row for row in found])


def encode_each(
    encoder: Encoder,
    items: Sequence[ImageItem],
    *,
    batch_size: int = ENCODE_BATCH,
    on_error: Literal["raise", "skip"] = "raise",
    progress: Callable[[int, int], None] | None = None,
) -> list[Tensor | None]:
    """Encodes images as `encode` does, and gives None for one that was skipped."""
    import torch

    found: list[Tensor | None] = []
    for start in range(0, len(items), batch_size):
        inputs = [_read(encoder, item, on_error) for item in items[start : start + batch_size]]
        good = [tensor for tensor in inputs if tensor is not None]
        with torch.inference_mode():
            rows = encoder.encode(_stack(good)).float().cpu() if good else None
        # a clone, because tensors of inference mode cannot take part in training
        each = iter(() if rows is None else zip(rows.clone(), is_finite(rows), strict=True))
        for item, tensor in zip(items[start : start + batch_size], inputs, strict=True):
            row, finite = (None, True) if tensor is None else next(each)
            if not finite and on_error != "skip":
                raise PrefixcapError(f"{item.path or item.id}: its feature is not finite")
            found.append(row if finite else None)
        if progress is not None:
            progress(len(found), len(items))
    return found


def is_finite(features: Tensor) -> Tensor:
    """Returns the rows of features (B,D) or (B,N,D) whose image could be read, (B) bool."""
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
