"""Precomputed embeddings as an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from hashlib import sha256

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from prefixcap.captioning.encode_images import read_ids
from prefixcap.captioning.feature_store import FeatureStore
from prefixcap.errors import PrefixcapError, nearest, shown
from prefixcap.evaluation.image_names import ImageNames
from prefixcap.interfaces.dataset import NO_INDEX, ImageItem
from prefixcap.interfaces.encoder import Encoder
from prefixcap.util.feature_files import FeatureFile
from prefixcap.util.text_files import expanded
from prefixcap_clip.stored_texts import StoredTexts


class PrecomputedEncoder(Encoder):
    """Rows of a file, or the embeddings in a data set.

    Args:
        path: A store of features, or a .npy or .safetensors file of (B,D) or (B,N,D), or "" for
            those in the data set.
        key: Name of the tensor in a .safetensors file, or "" for its only one.
        ids: A text file with the image id of each row, or "" for the order of the data set.
        texts: A .npy or .safetensors file of text embeddings (T,D), or "".
        captions: A text file with the caption of each of its rows.

    Raises:
        PrefixcapError: If a file is missing or broken, or the number of ids is not that of rows.
    """

    def __init__(
        self, path: str, key: str = "", ids: str = "", texts: str = "", captions: str = ""
    ) -> None:
        self._store = (
            FeatureStore.open(expanded(path)) if path and expanded(path).is_dir() else None
        )
        if self._store is not None and (key or ids):
            raise PrefixcapError(
                f"precomputed: {path} is a store of features, which knows its images: leave out "
                f"{'key' if key else 'ids'!r}"
            )
        self._file: FeatureFile | None = None
        if path:
            file = self._store.file if self._store is not None else None
            self._file = file or FeatureFile(expanded(path), key, kinds="f")
        self._shape = None if self._file is None else self._file.shape[1:]
        self._row_of_id = None if self._store is None else self._store.row_of
        if self._file is not None and ids:
            names = read_ids(expanded(ids), len(self._file))
            self._row_of_id = {name: row for row, name in enumerate(names)}
        self._texts = StoredTexts(expanded(texts), expanded(captions)) if texts else None

    @property
    @override
    def width(self) -> int:
        return int(self._feature_shape()[-1])

    @property
    @override
    def tokens(self) -> int | None:
        shape = self._feature_shape()
        return int(shape[0]) if len(shape) == 2 else None

    @override
    def preprocess(self, image: ImageItem) -> Tensor:
        if self._file is None:
            if image.embedding is None:
                raise PrefixcapError(
                    f"{image.id}: the data set has no embedding of it: give the encoder "
                    "'precomputed' a path, or use an encoder of images (`caption --encoder`)"
                )
            row = np.array(image.embedding(), dtype=np.float32)
        else:
            row = self._file.row(self._row_index(image, self._file))
        self._shape = self._shape or row.shape
        return torch.from_numpy(row)

    @override
    def encode(self, inputs: Tensor) -> Tensor:
        return inputs.float()

    @override
    def encode_text(self, texts: Sequence[str]) -> Tensor | None:
        return None if self._texts is None else self._texts.encode(texts)

    @override
    def digest(self) -> str:
        images = self._digest_images()
        return images if self._texts is None else f"{images} {self._texts.digest()}"

    def _digest_images(self) -> str:
        if self._file is None:
            return "dataset"  # the digest of the data set covers its embeddings
        if self._store is not None:
            return self._store.digest()
        digest = sha256(repr((self._file.shape, self._row_of_id)).encode())
        for index in range(len(self._file)):
            digest.update(self._file.row(index).tobytes())
        return digest.hexdigest()[:16]

    def _row_index(self, image: ImageItem, file: FeatureFile) -> int:
        if self._row_of_id is not None:
            name = image.id if image.id in self._row_of_id else self._same_image(image.id, file)
            if name is None and self._store is not None:
                return self._store.row(image.id)  # raises its own error
            if name is None:
                hint = nearest(image.id, self._row_of_id)
                raise PrefixcapError(
                    f"{file.path}: no row belongs to the image {shown(image.id)}{hint}"
                )
            return self._row_of_id[name]
        if image.index == NO_INDEX:
            raise PrefixcapError(
                f"{file.path}: the row of the image {image.id!r} is unknown, because it is not in "
                "a data set: set 'ids' to a file with the rows' image ids, or use an encoder of "
                "images (`caption --encoder`)"
            )
        if not 0 <= image.index < len(file):
            raise PrefixcapError(
                f"{file.path} has {len(file)} embeddings, but the image {image.id!r} is number "
                f"{image.index + 1} in its data set"
            )
        return image.index

    def _same_image(self, image: str, file: FeatureFile) -> str | None:
        """Return the id of a row's image that another name of it means, such as COCO's number."""
        return self._names.find(image, f"{file.path}, ids")

    @cached_property
    def _names(self) -> ImageNames:
        return ImageNames(dict.fromkeys(self._row_of_id or (), ()))

    def _feature_shape(self) -> tuple[int, ...]:
        if self._shape is None:
            raise PrefixcapError(
                "the width of the data set's embeddings is unknown until one has been read"
            )
        return self._shape
