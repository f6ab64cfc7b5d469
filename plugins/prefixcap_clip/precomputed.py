"""Precomputed embeddings as an encoder."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from prefixcap.captioning.encode_images import read_ids
from prefixcap.errors import PrefixcapError, nearest
from prefixcap.interfaces.dataset import NO_INDEX, ImageItem
from prefixcap.interfaces.encoder import Encoder


class PrecomputedEncoder(Encoder):
    """Rows of a file, or the embeddings in a data set.

    Args:
        path: A .npy or .safetensors file of (B,D) or (B,N,D), or "" for those in the data set.
        key: Name of the tensor in a .safetensors file, or "" for its only one.
        ids: A text file with the image id of each row, or "" for the order of the data set.

    Raises:
        PrefixcapError: If a file is missing or broken, or the number of ids is not that of rows.
    """

    def __init__(self, path: str, key: str = "", ids: str = "") -> None:
        self._path = Path(path).expanduser() if path else None
        self._rows = None if self._path is None else _read(self._path, key)
        self._example = None if self._rows is None else self._rows[0]
        self._row_of_id: dict[str, int] | None = None
        if self._rows is not None and ids:
            names = read_ids(Path(ids).expanduser(), len(self._rows))
            self._row_of_id = {name: row for row, name in enumerate(names)}

    @property
    @override
    def width(self) -> int:
        return int(self._shape()[-1])

    @property
    @override
    def tokens(self) -> int | None:
        shape = self._shape()
        return int(shape[0]) if len(shape) == 2 else None

    @override
    def preprocess(self, image: ImageItem) -> Tensor:
        if self._rows is None:
            if image.embedding is None:
                raise PrefixcapError(
                    f"{image.id}: the data set has no embedding of it: give the encoder "
                    "'precomputed' a path, or use an encoder of images"
                )
            row = np.asarray(image.embedding(), dtype=np.float32)
        else:
            row = np.asarray(self._rows[self._row_index(image)], dtype=np.float32)
        self._example = row if self._example is None else self._example
        return torch.from_numpy(np.array(row, copy=True))

    @override
    def encode(self, inputs: Tensor) -> Tensor:
        return inputs.float()

    @override
    def digest(self) -> str:
        if self._rows is None:
            return "dataset"  # the digest of the data set covers its embeddings
        content = np.ascontiguousarray(self._rows)
        ids = () if self._row_of_id is None else (tuple(self._row_of_id),)
        return sha256(
            repr((content.shape, content.dtype.str, *ids)).encode() + content.tobytes()
        ).hexdigest()[:16]

    def _row_index(self, image: ImageItem) -> int:
        if self._row_of_id is not None:
            if image.id not in self._row_of_id:
                hint = nearest(image.id, self._row_of_id)
                raise PrefixcapError(
                    f"{self._path}: no row belongs to the image {image.id!r}{hint}"
                )
            return self._row_of_id[image.id]
        if image.index == NO_INDEX:
            raise PrefixcapError(
                f"{self._path}: the row of the image {image.id!r} is unknown, because it is not in "
                "a data set: set 'ids' to a file with the rows' image ids, or give features"
            )
        count = 0 if self._rows is None else len(self._rows)
        if not 0 <= image.index < count:
            raise PrefixcapError(
                f"{self._path} has {count} embeddings, but the image {image.id!r} is number "
                f"{image.index + 1} in its data set"
            )
        return image.index

    def _shape(self) -> tuple[int, ...]:
        if self._example is None:
            raise PrefixcapError(
                "the width of the data set's embeddings is unknown until one has been read"
            )
        return tuple(self._example.shape)


def _read(path: Path, key: str) -> np.ndarray:
    if path.suffix not in (".npy", ".safetensors"):
        raise PrefixcapError(f"{path}: embeddings must be a .npy or .safetensors file")
    if not path.is_file():
        near = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise PrefixcapError(f"{path} does not exist{nearest(path.name, near)}")
    try:
        rows = np.load(path, mmap_mode="r") if path.suffix == ".npy" else _tensor(path, key)
    except (OSError, ValueError) as error:
        raise PrefixcapError(f"{path}: cannot be read as embeddings: {error}") from error
    if rows.ndim not in (2, 3) or not len(rows) or rows.dtype.kind != "f":
        raise PrefixcapError(
            f"{path}: embeddings must be numbers of shape (B,D) or (B,N,D), not "
            f"{rows.dtype} of shape {rows.shape}"
        )
    return rows


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
