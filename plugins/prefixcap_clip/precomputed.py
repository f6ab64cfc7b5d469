"""Embeddings that were computed before."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from prefixcap.captioning.encode_images import read_ids
from prefixcap.errors import PrefixcapError, nearest
from prefixcap.interfaces.dataset import NO_INDEX, ImageItem
from prefixcap.interfaces.encoder import Encoder


class PrecomputedEncoder(Encoder):
    """Rows of a file, or the embeddings that a data set brings along.

    Args:
        path: a .npy or .safetensors file of (B,D) or (B,N,D); "" for the data set's own.
        key: the tensor's name in a .safetensors file.
        ids: a text file with the id of each row's image; "" where rows follow the data set.
    """

    def __init__(self, path: str, key: str = "", ids: str = "") -> None:
        self._path = Path(path).expanduser() if path else None
        self._rows = None if self._path is None else _read(self._path, key)
        self._example = None if self._rows is None else self._rows[0]
        self._numbers = (
            None
            if self._rows is None or not ids
            else {n: i for i, n in enumerate(read_ids(Path(ids).expanduser(), len(self._rows)))}
        )

    @property
    def width(self) -> int:
        """D, known of a data set's own embeddings once one has been read."""
        return int(self._shape()[-1])

    @property
    def tokens(self) -> int | None:
        """N, or None where a feature is one vector."""
        shape = self._shape()
        return int(shape[0]) if len(shape) == 2 else None

    def preprocess(self, image: ImageItem) -> Tensor:
        """Reads an image's feature (D) or (N,D)."""
        if self._rows is None:
            if image.embedding is None:
                raise PrefixcapError(
                    f"{image.id}: the data set brings no embedding of it along: give the encoder "
                    "'precomputed' a path, or use an encoder of images"
                )
            row = np.asarray(image.embedding(), dtype=np.float32)
        else:
            row = np.asarray(self._rows[self._number(image)], dtype=np.float32)
        self._example = row if self._example is None else self._example
        return torch.from_numpy(np.array(row, copy=True))

    def encode(self, inputs: Tensor) -> Tensor:
        """Returns the features (B,D) or (B,N,D) as they are, float32."""
        return inputs.float()

    def digest(self) -> str:
        """Returns a hash of the file; a data set's own embeddings are in the data set's digest."""
        if self._rows is None:
            return "dataset"
        content = np.ascontiguousarray(self._rows)
        named = () if self._numbers is None else (tuple(self._numbers),)
        return sha256(
            repr((content.shape, content.dtype.str, *named)).encode() + content.tobytes()
        ).hexdigest()[:16]

    def _number(self, image: ImageItem) -> int:
        if self._numbers is not None:
            if image.id not in self._numbers:
                hint = nearest(image.id, self._numbers)
                raise PrefixcapError(f"{self._path}: no row is of the image {image.id!r}{hint}")
            return self._numbers[image.id]
        if image.index == NO_INDEX:
            raise PrefixcapError(
                f"{self._path}: which row is of the image {image.id!r} is not known: it is of no "
                "data set: set 'ids' to a file of the rows' images, or give features"
            )
        count = 0 if self._rows is None else len(self._rows)
        if not 0 <= image.index < count:
            raise PrefixcapError(
                f"{self._path}: there are {count} embeddings, and the image "
                f"{image.id!r} is number {image.index + 1} of its data set"
            )
        return image.index

    def _shape(self) -> tuple[int, ...]:
        if self._example is None:
            raise PrefixcapError(
                "the width of the data set's own embeddings is known once one has been read"
            )
        return tuple(self._example.shape)


def _read(path: Path, key: str) -> np.ndarray:
    if path.suffix not in (".npy", ".safetensors"):
        raise PrefixcapError(f"{path}: embeddings are read from .npy or .safetensors files")
    if not path.is_file():
        near = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise PrefixcapError(f"{path}: there is no such file{nearest(path.name, near)}")
    try:
        found = np.load(path, mmap_mode="r") if path.suffix == ".npy" else _tensor(path, key)
    except (OSError, ValueError) as error:
        raise PrefixcapError(f"{path}: cannot be read as embeddings: {error}") from error
    if found.ndim not in (2, 3) or not len(found) or found.dtype.kind != "f":
        raise PrefixcapError(
            f"{path}: embeddings must be numbers of shape (B,D) or (B,N,D), not "
            f"{found.dtype} of shape {found.shape}"
        )
    return found


def _tensor(path: Path, key: str) -> np.ndarray:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    if not key and len(tensors) != 1:
        raise PrefixcapError(f"{path}: set key to one of its tensors: {', '.join(sorted(tensors))}")
    name = key or next(iter(tensors))
    if name not in tensors:
        raise PrefixcapError(f"{path}: no tensor {name!r}{nearest(name, tensors)}")
    array: np.ndarray = tensors[name].float().numpy()
    return array
