"""Folders of stored features: files of rows, each with a key."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from prefixcap.plugin import specs
from prefixcap.study.artifacts.folder import StudyJob
from prefixcap.study.artifacts.locks import locked
from prefixcap.util.files import AlteredError
from prefixcap.util.storage.tensor_files import read_info, read_tensors, write_tensors

if TYPE_CHECKING:
    from torch import Tensor

    from prefixcap.captioning.feature_rows import FeatureRows


@attrs.frozen
class FeatureShard:
    """The header of a file of features: the keys of its rows, and of unreadable images."""

    images: tuple[str, ...]
    unreadable: tuple[str, ...]

    @classmethod
    def read(cls, file: Path) -> FeatureShard:
        """Read a file's header.

        Raises:
            AlteredError: If the header is broken.
        """
        info = read_info(file)
        try:
            return cls(tuple(info["images"]), tuple(info["unreadable"]))
        except (KeyError, TypeError) as error:
            raise AlteredError(file, f"its header is broken: {error}") from error

    @staticmethod
    def write(file: Path, rows: Mapping[str, Tensor | None]) -> None:
        """Write the features (D) or (N,D) of images by their keys; None marks unreadable ones."""
        import torch

        readable = {key: row for key, row in rows.items() if row is not None}
        stacked = torch.stack(list(readable.values())) if readable else torch.empty(0)
        info = {
            "images": list(readable),
            "unreadable": [key for key, row in rows.items() if row is None],
        }
        write_tensors(file, {"features": stacked.numpy()}, info)


@attrs.define(kw_only=True)
class Shards:
    """The files of one folder, which several processes may write."""

    job: StudyJob
    folder: Path
    _headers: dict[Path, FeatureShard] = attrs.field(factory=dict, init=False, repr=False)
    _checked: set[Path] = attrs.field(factory=set, init=False, repr=False)

    def known(self) -> tuple[set[str], set[str]]:
        """Return the keys of rows and of unreadable images, written by any process."""
        for file in self.folder.glob("*.safetensors"):
            if file not in self._headers:
                with contextlib.suppress(AlteredError):  # what it held is missing
                    self._headers[file] = FeatureShard.read(file)
        rows = {key for shard in self._headers.values() for key in shard.images}
        unreadable = {key for shard in self._headers.values() for key in shard.unreadable}
        return rows, unreadable - rows

    def files(self, keys: Iterable[str]) -> set[Path]:
        """Return the files that hold anything of some keys."""
        self.known()
        requested = set(keys)
        return {
            file
            for file, shard in self._headers.items()
            if requested.intersection((*shard.images, *shard.unreadable))
        }

    def rows(self, keys: Sequence[str], digest: str) -> FeatureRows:
        """Return the rows of keys, all of them known; `digest` is what identifies them."""
        from prefixcap.study.artifacts.shard_rows import ShardRows

        self.known()
        places = {
            key: (file, row)
            for file, shard in self._headers.items()
            for row, key in enumerate(shard.images)
        }
        return ShardRows([places[key] for key in keys], digest)

    def path(self, keys: Sequence[str]) -> Path:
        """Return the file for some keys, without its ending, which is locked to write it."""
        return self.folder / specs.digest(keys)

    def write(self, rows: Mapping[str, Tensor | None]) -> None:
        """Write rows by their keys; see `FeatureShard.write`."""
        file = self.path(list(rows)).with_suffix(".safetensors")
        FeatureShard.write(file, rows)
        self._checked.add(file)

    def discard_altered(self) -> None:
        """Delete the files that were altered since they were written."""
        for file in sorted({*self.folder.glob("*.safetensors")} - self._checked):
            try:
                read_tensors(file)
            except AlteredError:
                self._discard_if_altered(file)
            self._checked.add(file)

    def _discard_if_altered(self, file: Path) -> None:
        with locked(file):
            try:
                read_tensors(file)  # another process may have written it again
            except AlteredError as error:
                self.job.reporter.message(error.remade)
                file.unlink()
                self._headers.pop(file, None)
