"""Image features of a study, encoded once and stored by a key of encoder and image."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.dataset import Dataset, Example, ImageItem
from prefixcap.interfaces.encoder import Encoder, EncoderConfig
from prefixcap.plugin import specs
from prefixcap.study.artifacts import timings
from prefixcap.study.artifacts.folder import StudyJob
from prefixcap.study.artifacts.locks import locked, shared
from prefixcap.util.files import AlteredError
from prefixcap.util.progress import ProgressTask
from prefixcap.util.storage.tensor_files import read_info, read_tensors, write_tensors

if TYPE_CHECKING:
    from torch import Tensor

    from prefixcap.captioning.feature_rows import FeatureRows

CHUNK = 512
"""The number of images per file."""


@attrs.define(kw_only=True, slots=False)
class Features:
    """The features of a study's images by one encoder.

    The key of an image's features covers the encoder (its config, version and weights, and those
    of its subcomponents) and the image (its id, the hash of its content, the data set's version,
    and its row if the encoder depends on it). Other captions, another limit or more images
    therefore cost nothing but the new images.

    `encoded` counts the images that this process encoded.
    """

    job: StudyJob
    config: EncoderConfig
    encoder: Encoder
    dataset: Dataset
    encoded: int = 0
    _shards: dict[Path, FeatureShard] = attrs.field(factory=dict, init=False, repr=False)
    _checked: set[Path] = attrs.field(factory=set, init=False, repr=False)
    _image_keys: dict[str, str] = attrs.field(factory=dict, init=False, repr=False)

    @cached_property
    def key(self) -> str:
        """A digest of the encoder, with its weights."""
        return specs.digest(
            "features", *specs.fingerprint_inputs(self.config), self.encoder.digest()
        )

    @property
    def folder(self) -> Path:
        """The folder of this encoder's features."""
        return self.job.files.features / f"{self.config.name}-{self.key[:8]}"

    def encode(self, split: str, examples: Sequence[Example]) -> None:
        """Encode the images of a split that have no features yet, or whose file was altered.

        Raises:
            PrefixcapError: If an image cannot be read and the study does not skip such images, or
                if no image can be read.
        """
        self._discard_altered()
        missing = len(self.missing(examples))
        if missing:
            # complete chunks, so that a resumed encoding has the same batches
            chunks = [examples[start : start + CHUNK] for start in range(0, len(examples), CHUNK)]
            chunks = [chunk for chunk in chunks if self.missing(chunk)]
            done = 0
            with self.job.reporter.task(f"encoding {split} images", missing, "images") as task:
                for chunk in shared(chunks, self._lock):
                    remaining = self.missing(chunk)
                    self._encode(remaining, task, done)
                    done += len(remaining)
        if examples and not self.readable(examples):
            raise PrefixcapError(f"no image of the split {split!r} can be read")

    def rows(self, examples: Sequence[Example]) -> FeatureRows:
        """Return the features (B,D) or (B,N,D) of B images, all of them readable and encoded."""
        from prefixcap.study.artifacts.shard_rows import ShardRows

        self._known()
        keys = self._keys(examples)
        places = {
            key: (file, row)
            for file, shard in self._shards.items()
            for row, key in enumerate(shard.images)
        }
        return ShardRows([places[key] for key in keys], specs.digest(self.key, keys))

    def missing(self, examples: Sequence[Example]) -> list[Example]:
        """Return the examples whose images no process has encoded yet."""
        images, unreadable = self._known()
        done = images | unreadable
        return [example for example in examples if self.image_key(example.image) not in done]

    def readable(self, examples: Sequence[Example]) -> list[Example]:
        """Return the examples without those whose image is known to be unreadable."""
        _, unreadable = self._known()
        return [e for e in examples if self.image_key(e.image) not in unreadable]

    def shards(self, examples: Iterable[Example]) -> set[Path]:
        """Return the files that hold anything of the examples."""
        self._known()
        requested = set(self._keys(examples))
        return {
            file
            for file, shard in self._shards.items()
            if requested.intersection((*shard.images, *shard.unreadable))
        }

    def _known(self) -> tuple[set[str], set[str]]:
        """Return the keys of encoded and of unreadable images, written by any process."""
        for file in self.folder.glob("*.safetensors"):
            if file not in self._shards:
                with contextlib.suppress(AlteredError):  # what it held is missing
                    self._shards[file] = FeatureShard.read(file)
        images = {key for shard in self._shards.values() for key in shard.images}
        if not self.job.study.skip_unreadable:
            return images, set()
        unreadable = {key for shard in self._shards.values() for key in shard.unreadable}
        return images, unreadable - images

    def _discard_altered(self) -> None:
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
                self._shards.pop(file, None)

    def _keys(self, examples: Iterable[Example]) -> list[str]:
        return [self.image_key(example.image) for example in examples]

    def image_key(self, image: ImageItem) -> str:
        """Digest an image and where it comes from."""
        if image.id not in self._image_keys:
            content = image.digest() if image.digest is not None else self._dataset_digest
            index = image.index if self.config.depends_on_index else None
            self._image_keys[image.id] = specs.digest(image.id, index, content, self._source)
        return self._image_keys[image.id]

    @cached_property
    def _dataset_digest(self) -> str:
        return self.dataset.digest()

    @cached_property
    def _source(self) -> str:
        return specs.digest(self.job.study.dataset.name, self.job.study.dataset.version)

    def _lock(self, chunk: Sequence[Example]) -> Path:
        return self.folder / specs.digest(self._keys(chunk))

    def _encode(self, examples: Sequence[Example], task: ProgressTask, done: int) -> None:
        from prefixcap.captioning.encode_images import checked, iter_encoded

        if not examples:  # another process has just encoded them
            return
        begin = time.perf_counter()
        items = [example.image for example in examples]
        rows: list[Tensor | None] = []
        for batch in iter_encoded(self.encoder, items, batch_size=self.job.study.encode_batch):
            images = batch if self.job.study.skip_unreadable else map(checked, batch)
            rows += [image.feature for image in images]
            task.update(done + len(rows))
        self.encoded += len(examples)
        keys = self._keys(examples)
        file = self.folder / f"{specs.digest(keys)}.safetensors"
        FeatureShard.write(file, dict(zip(keys, rows, strict=True)))
        self._checked.add(file)
        encoder, seconds = specs.to_spec(self.config), time.perf_counter() - begin
        timings.record(self.job, timings.ENCODING, encoder, len(examples), seconds)


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
