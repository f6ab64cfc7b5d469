"""A store of features: a folder with a row an image, made once and then read row by row.

`features.npy` holds the rows, which `numpy.load(..., mmap_mode="r")` opens, `ids.txt` the id of
each row's image, and `store.json` what made them. Until all images are encoded, `progress.jsonl`
says which are, so that a killed process can be followed by another.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import attrs
from filelock import FileLock, Timeout

from prefixcap.captioning.encode_images import ENCODE_BATCH, iter_encoded, read_ids
from prefixcap.errors import PrefixcapError, nearest, shown
from prefixcap.interfaces.dataset import ImageItem
from prefixcap.interfaces.encoder import Encoder, EncoderConfig
from prefixcap.plugin import specs
from prefixcap.util.feature_files import FeatureFile
from prefixcap.util.files import (
    AlteredError,
    appending,
    checked_line,
    read_checked,
    read_json,
    write_json,
    write_text,
)

if TYPE_CHECKING:
    import numpy as np

FEATURES, IDS, INFO, PROGRESS = "features.npy", "ids.txt", "store.json", "progress.jsonl"
LOCK = ".lock"
TYPES = ("float32", "float16")
FORMAT = 1
SHAPE = {
    "format": int,
    "key": str,
    "dtype": str,
    "encoder": str,
    "encoder_digest": str,
    "features_sha256": str,
    "ids_sha256": str,
    "statistics": {"mean": [float], "rms": float, "norm": float, "norm_std": float},
    "unreadable": {str: str},
}
_HEADER = 128  # bytes of the file before the rows
_PASS = 1 << 24  # bytes that a pass over the file reads together
_CURE = "make it again with `prefixcap features`"


@attrs.frozen(slots=False)
class FeatureStore:
    """A finished store.

    Attributes:
        path: Its folder.
        info: The content of `store.json`: "encoder", its spec; "encoder_digest"; "statistics" of
            the features, see `measured`; "unreadable", the errors of images without a row, by id.
        file: The rows.
        ids: The image of each row.
    """

    path: Path
    info: Mapping[str, Any]
    file: FeatureFile = attrs.field(repr=False)
    ids: Sequence[str] = attrs.field(repr=False)

    @classmethod
    def open(cls, path: Path) -> FeatureStore:
        """Open a store without reading its features.

        Raises:
            PrefixcapError: If it is no store, not finished, or not as it was written.
        """
        info = _read_info(path)
        if info is None:
            problem = f"it has no {INFO}"
            if (path / PROGRESS).exists():
                problem = "it is not finished: run the same `prefixcap features` again"
            raise PrefixcapError(f"{path} is not a store of features: {problem}")
        file = FeatureFile(path / FEATURES, kinds="f")
        store = cls(path, info, file, read_ids(path / IDS, len(file)))
        if info["ids_sha256"] != _hash_ids(store.ids):
            raise AlteredError(path / IDS, "its SHA-256 differs", _CURE)
        return store

    @cached_property
    def row_of(self) -> dict[str, int]:
        """The row of each image."""
        return {image: row for row, image in enumerate(self.ids)}

    def row(self, image: str) -> int:
        """Return the row of an image.

        Raises:
            PrefixcapError: If there is none.
        """
        if image in self.row_of:
            return self.row_of[image]
        if image in self.info["unreadable"]:
            raise PrefixcapError(
                f"{self.path}: the image {shown(image)} could not be read when the store was made: "
                f"{self.info['unreadable'][image]}"
            )
        hint = nearest(image, self.row_of)
        raise PrefixcapError(f"{self.path}: no row belongs to the image {shown(image)}{hint}")

    def digest(self) -> str:
        """Return a hash of the features and ids, as recorded when they were written."""
        return specs.digest(self.info["features_sha256"], self.info["ids_sha256"])

    def verify(self) -> None:
        """Read all features, and compare them with the recorded hash.

        Raises:
            AlteredError: If they differ.
        """
        content, _ = measured(self.path / FEATURES, self.file.shape)
        if content != self.info["features_sha256"]:
            raise AlteredError(self.path / FEATURES, "its SHA-256 differs", _CURE)


def _read_info(path: Path) -> dict[str, Any] | None:
    try:
        info = read_json(path / INFO, SHAPE)
    except AlteredError as error:
        raise AlteredError(error.path, error.reason, _CURE) from error
    if info is not None and info["format"] != FORMAT:
        raise PrefixcapError(
            f"{path} is a store of format {info['format']}, and this version of prefixcap reads "
            f"{FORMAT}: {_CURE}"
        )
    return info


def make_store(
    path: Path,
    config: EncoderConfig,
    encoder: Encoder,
    items: Sequence[ImageItem],
    *,
    dtype: str = "float32",
    batch_size: int = ENCODE_BATCH,
    failed: Callable[[PrefixcapError], None],
    progress: Callable[[int], None] = lambda done: None,
) -> FeatureStore:
    """Encode images into a store, or the rest of them if a process was killed at it.

    Args:
        path: The store's folder.
        config: The encoder's config.
        encoder: The encoder.
        items: The images, whose ids differ.
        dtype: One of `TYPES`.
        batch_size: The number of images that are encoded together.
        failed: Gets the error of each image that cannot be read; it may raise it.
        progress: Called with the number of images done, first with that of an earlier process.

    Raises:
        PrefixcapError: If an id cannot be one, no image can be read, the folder holds something
            else, or another process is writing to it.
    """
    ids = [item.id for item in items]
    _check_ids(ids)
    key = specs.digest(specs.fingerprint_inputs(config), encoder.digest(), dtype, ids)
    with _alone(path):
        if info := _read_info(path):
            if info["key"] != key:
                raise PrefixcapError(
                    f"{path} holds the features of other images, or of another encoder or dtype: "
                    "choose another --out"
                )
            progress(len(items))
            return FeatureStore.open(path)
        writer = _Writer(path, key, dtype)
        progress(writer.done)
        with (
            appending(path / PROGRESS) as log,
            (path / FEATURES).open("r+b" if writer.done else "wb") as file,
        ):
            writer.begin(file)
            rest = items[writer.done :]
            for batch in iter_encoded(encoder, rest, batch_size=batch_size):
                rows, errors = [], {}
                for image in batch:
                    row = None if image.feature is None else image.feature.numpy()
                    error = image.error
                    if row is not None and not _fits(row, dtype):
                        row, error = None, PrefixcapError(f"{image.item.id}: too large for {dtype}")
                    if error is not None:
                        failed(error)
                        errors[image.item.id] = str(error)
                    if row is not None:
                        rows.append((image.item.id, row))
                writer.add(file, log, len(batch), rows, errors)
                progress(writer.done)
            if not writer.ids:
                raise PrefixcapError("no image could be read, so there is nothing to store")
            writer.end(file)
        content, statistics = measured(path / FEATURES, writer.shape)
        write_text(path / IDS, "".join(f"{image}\n" for image in writer.ids))
        info = {
            "format": FORMAT,
            "key": key,
            "dtype": dtype,
            "encoder": specs.to_spec(config),
            "encoder_digest": encoder.digest(),
            "features_sha256": content,
            "ids_sha256": _hash_ids(writer.ids),
            "statistics": statistics,
            "unreadable": writer.unreadable,
        }
        write_json(path / INFO, info)
        (path / PROGRESS).unlink()
        return FeatureStore.open(path)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other processes from writing to a store; the system frees what a killed one held."""
    path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise PrefixcapError(
            f"another process is writing features to {path}: wait for it, or choose another --out"
        ) from error
    try:
        yield
    finally:
        lock.release()


class _Writer:
    """The rows of a store that is being made."""

    def __init__(self, path: Path, key: str, dtype: str) -> None:
        self._key, self._dtype = key, dtype
        self.done, self.ids, self._row = 0, list[str](), ()
        self.unreadable: dict[str, str] = {}
        lines, altered = read_checked(path / PROGRESS)
        if altered or any(line["key"] != key for line in lines):
            raise PrefixcapError(
                f"{path} holds unfinished features of other images, or of another encoder or "
                "dtype: choose another --out, or delete it"
            )
        for line in lines:
            self.done += line["done"]
            self.ids += line["ids"]
            self.unreadable |= line["unreadable"]
            self._row = tuple(line["row"]) or self._row

    @property
    def shape(self) -> tuple[int, ...]:
        """(B,D) or (B,N,D)."""
        return (len(self.ids), *self._row)

    def begin(self, file: IO[bytes]) -> None:
        """Remove what a killed process wrote after its last line of progress."""
        import numpy as np

        size = math.prod(self.shape) * np.dtype(self._dtype).itemsize if self._row else 0
        file.truncate(_HEADER + size)
        file.seek(_HEADER + size)

    def add(
        self,
        file: IO[bytes],
        log: IO[str],
        done: int,
        rows: Sequence[tuple[str, np.ndarray]],
        unreadable: Mapping[str, str],
    ) -> None:
        """Write a batch: its rows first, then the line that says so."""
        for _, row in rows:
            self._row = self._row or row.shape
            if row.shape != self._row:
                raise PrefixcapError(f"features of different shapes: {self._row} and {row.shape}")
            file.write(row.astype(self._dtype).tobytes())
        file.flush()
        ids = [image for image, _ in rows]
        line = {
            "key": self._key,
            "done": done,
            "row": list(self._row),
            "ids": ids,
            "unreadable": dict(unreadable),
        }
        log.write(checked_line(line))
        log.flush()
        self.done += done
        self.ids += ids
        self.unreadable |= unreadable

    def end(self, file: IO[bytes]) -> None:
        """Write the header, which holds the number of rows."""
        import numpy as np
        from numpy.lib import format as npy

        entries = {"descr": np.dtype(self._dtype).str, "fortran_order": False, "shape": self.shape}
        text = repr(entries).encode().ljust(_HEADER - len(npy.magic(1, 0)) - 3) + b"\n"
        file.seek(0)
        file.write(npy.magic(1, 0) + len(text).to_bytes(2, "little") + text)
        file.flush()
        os.fsync(file.fileno())


def measured(path: Path, shape: tuple[int, ...]) -> tuple[str, dict[str, Any]]:
    """Read a store's features (B,D) or (B,N,D) in one pass.

    Returns:
        Their SHA-256, and their statistics over images and tokens: "mean" (D), the "rms" (root
        mean square) of all values, and the mean and standard deviation of the norms, "norm" and
        "norm_std".
    """
    import numpy as np

    rows = np.load(path, mmap_mode="r")
    content, width = sha256(), shape[-1]
    total, squares = np.zeros(width), 0.0
    norms = np.zeros(2)
    step = max(1, _PASS // rows[0].nbytes)
    for start in range(0, len(rows), step):
        part = np.ascontiguousarray(rows[start : start + step])
        content.update(part.tobytes())
        flat = part.reshape(-1, width).astype(np.float64)
        each = np.square(flat).sum(1)
        total += flat.sum(0)
        squares += each.sum()
        norms += np.sqrt(each).sum(), each.sum()
    count = rows.size // width
    norm = norms[0] / count
    return content.hexdigest(), {
        "mean": (total / count).tolist(),
        "rms": float(np.sqrt(squares / rows.size)),
        "norm": float(norm),
        "norm_std": float(np.sqrt(max(0.0, norms[1] / count - norm**2))),
    }


def _fits(row: np.ndarray, dtype: str) -> bool:
    import numpy as np

    return bool(np.abs(row).max() <= np.finfo(dtype).max)


def _check_ids(ids: Sequence[str]) -> None:
    seen: set[str] = set()
    for image in ids:
        if not image.strip() or set(image) & {"\n", "\r"}:
            raise PrefixcapError(f"{shown(image)} cannot be the id of an image: it is not a line")
        if image in seen:
            raise PrefixcapError(f"two images have the id {shown(image)}")
        seen.add(image)


def _hash_ids(ids: Sequence[str]) -> str:
    return sha256("\n".join(ids).encode()).hexdigest()
