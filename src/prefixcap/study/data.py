"""What a study reads: the splits of its data set and their features, each encoded once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from prefixcap import runs, specs
from prefixcap.errors import PrefixcapError
from prefixcap.kinds import Dataset, Encoder, EncoderConfig, Example
from prefixcap.study.grid import Study
from prefixcap.study.progress import Reporter
from prefixcap.study.store import locked

if TYPE_CHECKING:
    from torch import Tensor

CHUNK = 512


@attrs.frozen(kw_only=True)
class Data:
    """The splits that a study uses.

    Attributes:
        train: the examples to train on.
        val: the examples that say when to stop; none where the data set has no such split.
        test: the examples to caption.
        digest: of everything that the data set gives, and of the limit.
        splits: the names of the three splits, for messages.
    """

    train: Sequence[Example]
    val: Sequence[Example]
    test: Sequence[Example]
    digest: str
    splits: tuple[str, str, str]


def load(study: Study) -> Data:
    """Opens the study's data set.

    Raises:
        PrefixcapError: a split is missing or empty, an image lacks captions, or an image of test
            is in train as well.
    """
    dataset = study.dataset.build()
    name = specs.to_spec(study.dataset)
    known = dataset.splits
    if "train" not in known:
        raise PrefixcapError(f"the data set {name!r} has no split 'train', only {list(known)}")
    test = next((split for split in ("test", "val") if split in known), known[-1])
    val = "val" if "val" in known and test != "val" else ""
    data = Data(
        train=_examples(dataset, "train", study.limit),
        val=_examples(dataset, val, study.limit) if val else (),
        test=_examples(dataset, test, study.limit),
        digest=specs.digest(dataset.digest(), study.limit),
        splits=("train", val, test),
    )
    for split, examples in (("train", data.train), (test, data.test)):
        if not examples:
            raise PrefixcapError(f"the split {split!r} of the data set {name!r} is empty")
    both = {e.image.id for e in data.train} & {e.image.id for e in data.test}
    if both:
        raise PrefixcapError(
            f"the data set {name!r}: {len(both)} images of {test!r} are in 'train' as well, "
            f"such as {sorted(both)[0]!r}"
        )
    return data


@attrs.define(kw_only=True, slots=False)
class Features:
    """The features of images, encoded once and kept in the study's folder.

    Attributes:
        folder: where they are kept.
        config: the encoder's config.
        encoder: the encoder.
        source: a digest of the data set.
        skip_unreadable: whether to leave out images that cannot be read.
        reporter: who is told.
        encoded: how many images were encoded by this process.
    """

    folder: Path
    config: EncoderConfig
    encoder: Encoder
    source: str
    skip_unreadable: bool
    reporter: Reporter
    encoded: int = 0

    @cached_property
    def key(self) -> str:
        """A digest of what makes the features; the encoder's weights are hashed once."""
        return specs.digest("features", self.config, self.encoder.digest(), self.source)

    def of(self, split: str, examples: Sequence[Example]) -> Tensor:
        """Returns the features (B,D) or (B,N,D) of a split; unreadable images' rows are NaN.

        Raises:
            PrefixcapError: an image cannot be read and that was not allowed for.
        """
        import torch

        paths = self._paths(split, examples)
        if all(path.exists() for path in paths):
            return torch.cat([_read(path) for path in paths])
        found = []
        with self.reporter.task(f"encoding {split} images", len(examples), "images") as task:
            for number, file in enumerate(paths):
                start = number * CHUNK
                chunk = examples[start : start + CHUNK]
                with locked(file):
                    if not file.exists():
                        self._encode(file, chunk, lambda done, _, s=start: task.reach(s + done))
                    found.append(_read(file))
                task.reach(start + len(chunk))
        return torch.cat(found)

    def missing(self, split: str, examples: Sequence[Example]) -> int:
        """Returns how many images of a split are not encoded yet."""
        return sum(
            min(CHUNK, len(examples) - number * CHUNK)
            for number, path in enumerate(self._paths(split, examples))
            if not path.exists()
        )

    def _paths(self, split: str, examples: Sequence[Example]) -> list[Path]:
        starts = range(0, len(examples), CHUNK)
        keys = [self._chunk_key(examples[start : start + CHUNK]) for start in starts]
        return [
            self.folder / f"{split}-{start:06d}-{key}.safetensors"
            for start, key in zip(starts, keys, strict=True)
        ]

    def _chunk_key(self, chunk: Sequence[Example]) -> str:
        ids = [example.image.id for example in chunk]
        return specs.digest(self.key, ids, self.skip_unreadable)

    def _encode(self, path: Path, chunk: Sequence[Example], progress: object) -> None:
        from safetensors.torch import save

        from prefixcap.features import encode

        features = encode(
            self.encoder,
            [example.image for example in chunk],
            on_error="skip" if self.skip_unreadable else "raise",
            progress=progress,  # type: ignore[arg-type]
        )
        self.encoded += len(chunk)
        path.parent.mkdir(parents=True, exist_ok=True)
        runs.replace(path, save({"features": features.contiguous()}))


def readable(
    examples: Sequence[Example], features: Tensor
) -> tuple[list[Example], Tensor, list[Example]]:
    """Parts examples into those with features, their features, and those that were unreadable."""
    from prefixcap.features import readable as rows

    good = rows(features).tolist()
    kept = [example for example, well in zip(examples, good, strict=True) if well]
    lost = [example for example, well in zip(examples, good, strict=True) if not well]
    return kept, features[rows(features)], lost


@attrs.frozen(kw_only=True)
class TrainingData:
    """What mappers are trained on.

    Attributes:
        features: (B,D) or (B,N,D).
        examples: B examples.
        val_features: the same of the validation images; None without such a split.
        val_examples: their examples.
    """

    features: Tensor
    examples: Sequence[Example]
    val_features: Tensor | None
    val_examples: Sequence[Example]


def training_data(features: Features, data: Data) -> tuple[TrainingData, list[str]]:
    """Encodes what mappers are trained on.

    Returns:
        The training data, and the ids of images that could not be read.
    """
    train, found, lost = readable(data.train, features.of(data.splits[0], data.train))
    val, val_found, val_lost = list[Example](), None, list[Example]()
    if data.val:
        val, val_found, val_lost = readable(data.val, features.of(data.splits[1], data.val))
    made = TrainingData(features=found, examples=train, val_features=val_found, val_examples=val)
    return made, [example.image.id for example in (*lost, *val_lost)]


def _examples(dataset: Dataset, split: str, limit: int | None) -> Sequence[Example]:
    return dataset.examples(split)[:limit]


def _read(path: Path) -> Tensor:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(path.read_bytes())["features"]
    except (SafetensorError, KeyError) as error:
        raise PrefixcapError(f"{path} is broken ({error}): delete it to make it anew") from error
