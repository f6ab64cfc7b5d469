"""TODO."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from prefixcap.captioning.encode_images import ENCODE_BATCH
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.dataset import Dataset, Example, ImageItem
from prefixcap.interfaces.encoder import Encoder, EncoderConfig
from prefixcap.plugin import specs
from prefixcap.study.artifacts.folder import StudyFolder
from prefixcap.study.artifacts.locks import shared
from prefixcap.study.definition.study import Study
from prefixcap.util import files
from prefixcap.util.progress import ProgressTask, Reporter, Silent

if TYPE_CHECKING:
    from torch import Tensor


CHUNK = 512


UNREADABLE = "-"
"""What goes before the key of an image that could not be read."""


@attrs.define(kw_only=True, slots=False)
class Features:
    """The features of images, each encoded once and kept in the study's folder.

    An image's features are addressed by the encoder (its config, version and weights, and those of
    the encoders that it is made of) and by the image (its id, the hash of what it shows, the data
    set's version, and its row where the encoder goes by rows), so other captions, another limit or
    more images cost nothing but the new images.

    Attributes:
        folder: where they are kept.
        config: the encoder's config.
        encoder: the encoder.
        dataset: the data set, whose digest stands in for those that an image lacks.
        source: a digest of the data set's name and version.
        skip_unreadable: whether to leave out images that cannot be read.
        reporter: who is told.
        batch_size: how many images are encoded at once.
        took: told how many images were encoded in how many seconds.
        encoded: how many images were encoded by this process.
    """

    folder: Path
    config: EncoderConfig
    encoder: Encoder
    dataset: Dataset
    source: str
    skip_unreadable: bool
    reporter: Reporter
    batch_size: int = ENCODE_BATCH
    took: Callable[[int, float], None] = lambda _images, _seconds: None
    encoded: int = 0
    _files: dict[Path, FeatureShard] = attrs.field(factory=dict, init=False, repr=False)
    _digests: dict[str, str] = attrs.field(factory=dict, init=False, repr=False)

    @classmethod
    def of_study(
        cls,
        study: Study,
        folder: Path,
        config: EncoderConfig,
        encoder: Encoder,
        dataset: Dataset,
        reporter: Reporter | None = None,
    ) -> Features:
        """Finds the features of one of a study's encoders in the study's folder."""
        return cls(
            folder=StudyFolder(folder).features,
            config=config,
            encoder=encoder,
            dataset=dataset,
            source=specs.digest(study.dataset.name, study.dataset.version),
            skip_unreadable=study.skip_unreadable,
            reporter=reporter or Silent(),
            batch_size=study.encode_batch,
        )

    @cached_property
    def key(self) -> str:
        """A digest of the encoder; its weights are hashed once."""
        return specs.digest(
            "features", *specs.fingerprint_inputs(self.config), self.encoder.digest()
        )

    @property
    def place(self) -> Path:
        """The folder of this encoder's features."""
        return self.folder / f"{self.config.name}-{self.key[:8]}"

    def image_key(self, image: ImageItem) -> str:
        """Returns a digest of what makes an image's features, the encoder apart."""
        if image.id not in self._digests:
            shown = image.digest() if image.digest is not None else self._everything
            number = image.index if self.config.depends_on_index else None
            self._digests[image.id] = specs.digest(image.id, number, shown, self.source)
        return self._digests[image.id]

    @cached_property
    def _everything(self) -> str:
        return self.dataset.digest()

    def of(self, split: str, examples: Sequence[Example]) -> Tensor:
        """Returns the features (B,D) or (B,N,D) of a split; unreadable images' rows are NaN.

        Raises:
            PrefixcapError: an image cannot be read and that was not allowed for, or none can.
        """
        missing = self.missing(split, examples)
        if missing:
            # whole chunks, so that a killed encoding goes on with the same batches
            chunks = [examples[at : at + CHUNK] for at in range(0, len(examples), CHUNK)]
            done = 0
            with self.reporter.task(f"encoding {split} images", missing, "images") as task:
                for chunk in shared([c for c in chunks if self._missing(c)], self._lock):
                    left = self._missing(chunk)
                    self._encode(left, _after(done, task))
                    done += len(left)
        return self._gather(split, examples)

    def missing(self, split: str, examples: Sequence[Example]) -> int:
        """Returns how many images of a split are not encoded yet."""
        return len(self._missing(examples))

    def known_readable(self, examples: Sequence[Example]) -> list[Example]:
        """Returns the examples but for those whose image is known to be unreadable."""
        known = self._known()
        lost = {key for kept in self._files.values() for key in kept.unreadable}
        lost -= {key for kept in self._files.values() for key in kept.images}
        skipped = lost & known
        return [e for e in examples if self.image_key(e.image) not in skipped]

    def files(self, examples: Iterable[Example]) -> set[Path]:
        """Returns the files that hold anything of examples."""
        self._known()
        wanted = {self.image_key(example.image) for example in examples}
        return {
            file
            for file, kept in self._files.items()
            if wanted.intersection((*kept.images, *kept.unreadable))
        }

    def _lock(self, chunk: Sequence[Example]) -> Path:
        return self.place / specs.digest([self.image_key(example.image) for example in chunk])

    def _missing(self, examples: Sequence[Example]) -> list[Example]:
        known = self._known()
        return [e for e in examples if self.image_key(e.image) not in known]

    def _known(self) -> set[str]:
        """Returns the keys of the images that need not be encoded, by whichever process."""
        for file in self.place.glob("*.safetensors"):
            if file not in self._files:
                self._files[file] = FeatureShard.of(file)
        known = {key for kept in self._files.values() for key in kept.images}
        if self.skip_unreadable:
            known |= {key for kept in self._files.values() for key in kept.unreadable}
        return known

    def _encode(self, chunk: Sequence[Example], progress: Callable[[int, int], None]) -> None:
        from prefixcap.captioning.encode_images import encode_each

        if not chunk:  # another process has just made it
            return
        begin = time.perf_counter()
        found = encode_each(
            self.encoder,
            [example.image for example in chunk],
            batch_size=self.batch_size,
            on_error="skip" if self.skip_unreadable else "raise",
            progress=progress,
        )
        self.encoded += len(chunk)
        keys = [self.image_key(example.image) for example in chunk]
        file = self.place / f"{specs.digest(keys)}.safetensors"
        FeatureShard.write(file, dict(zip(keys, found, strict=True)))
        self.took(len(chunk), time.perf_counter() - begin)

    def _gather(self, split: str, examples: Sequence[Example]) -> Tensor:
        import torch

        self._known()
        rows: dict[str, Tensor] = {}
        wanted = {self.image_key(example.image) for example in examples}
        for file, kept in self._files.items():
            if wanted.intersection(kept.images):
                rows |= zip(kept.images, _read(file), strict=True)
        some = next((rows[key] for key in wanted if key in rows), None)
        if some is None:
            raise PrefixcapError(f"no image of {split!r} can be read, so there is nothing to use")
        lost = torch.full_like(some, float("nan"))
        return torch.stack([rows.get(self.image_key(e.image), lost) for e in examples])


@attrs.frozen
class FeatureShard:
    """What a file of features says of itself: the keys of its rows, and of unreadable images."""

    images: tuple[str, ...]
    unreadable: tuple[str, ...]

    @classmethod
    def of(cls, file: Path) -> FeatureShard:
        """Reads a file's heading.

        Raises:
            PrefixcapError: the file is broken.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(file, "pt") as opened:
                said = opened.metadata()
            images = said["images"].split()
        except (SafetensorError, KeyError, TypeError) as error:
            raise _broken(file, error) from error
        return cls(
            tuple(key for key in images if not key.startswith(UNREADABLE)),
            tuple(key[1:] for key in images if key.startswith(UNREADABLE)),
        )

    @staticmethod
    def write(file: Path, rows: Mapping[str, Tensor | None]) -> None:
        """Writes the features (D) or (N,D) of images by their keys, None for unreadable ones."""
        import torch
        from safetensors.torch import save

        good = {key: row for key, row in rows.items() if row is not None}
        stacked = torch.stack(list(good.values())) if good else torch.empty(0)
        said = " ".join(key if key in good else UNREADABLE + key for key in rows)
        file.parent.mkdir(parents=True, exist_ok=True)
        files.atomic_write(file, save({"features": stacked}, {"images": said}))


def _after(before: int, task: ProgressTask) -> Callable[[int, int], None]:
    return lambda done, _: task.update(before + done)


def _read(path: Path) -> Tensor:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(path.read_bytes())["features"]
    except (SafetensorError, KeyError) as error:
        raise _broken(path, error) from error


def _broken(path: Path, error: Exception) -> PrefixcapError:
    return PrefixcapError(f"{path} is broken ({error}): delete it to make it anew")
