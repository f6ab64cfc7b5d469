"""Image features of a study, encoded once and stored by a key of encoder and image."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
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
from prefixcap.study.artifacts.locks import shared
from prefixcap.study.artifacts.shards import Shards
from prefixcap.util.progress import ProgressTask

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

    @cached_property
    def _shards(self) -> Shards:
        return Shards(job=self.job, folder=self.folder)

    def encode(
        self, split: str, examples: Sequence[Example], part: tuple[int, int] = (0, 1)
    ) -> None:
        """Encode the images of a split that have no features yet, or whose file was altered.

        Args:
            split: The split's name, to show.
            examples: Its images.
            part: The number of the part of the images to encode, and how many parts there are.

        Raises:
            PrefixcapError: If an image cannot be read and the study does not skip such images, or
                if no image can be read.
        """
        self._shards.discard_altered()
        missing = len(self.missing(examples))
        if missing:
            # complete chunks, so that a resumed encoding has the same batches
            chunks = [examples[start : start + CHUNK] for start in range(0, len(examples), CHUNK)]
            chunks = [chunk for chunk in chunks[part[0] :: part[1]] if self.missing(chunk)]
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
        keys = self._keys(examples)
        return self._shards.rows(keys, specs.digest(self.key, keys))

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
        return self._shards.files(self._keys(examples))

    def _known(self) -> tuple[set[str], set[str]]:
        """Return the keys of encoded and of unreadable images, written by any process."""
        images, unreadable = self._shards.known()
        return images, unreadable if self.job.study.skip_unreadable else set()

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
        return self._shards.path(self._keys(chunk))

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
        self._shards.write(dict(zip(self._keys(examples), rows, strict=True)))
        encoder, seconds = specs.to_spec(self.config), time.perf_counter() - begin
        timings.record(self.job, timings.ENCODING, encoder, len(examples), seconds)
