"""What a study reads: the splits of its data set and their features, each encoded once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.dataset import Dataset, Example
from prefixcap.plugin import specs
from prefixcap.study.artifacts.features import Features
from prefixcap.study.artifacts.keys import training_key
from prefixcap.study.definition.study import Study

if TYPE_CHECKING:
    from torch import Tensor


@attrs.frozen(kw_only=True)
class Data:
    """The splits that a study uses.

    Attributes:
        train: the examples to train on.
        val: the examples that say when to stop; none where the data set has no such split.
        test: the examples to caption.
        dataset: where they come from.
        splits: the names of the three splits, for messages.
        limit: the most images of each.
    """

    train: Sequence[Example]
    val: Sequence[Example]
    test: Sequence[Example]
    dataset: Dataset
    splits: tuple[str, str, str]
    limit: int | None

    @property
    def warning(self) -> str | None:
        """Says what else is captioned where there is no split 'test'."""
        _, val, test = self.splits
        if test == "test":
            return None
        less = "" if val else ", and no split says when to stop the training"
        return f"warning: the data set has no split 'test': {test!r} is captioned and scored{less}"

    @property
    def digest(self) -> str:
        """A digest of everything that the data set gives, and of the limit."""
        return specs.digest(self.dataset.digest(), self.limit)


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
    others = [split for split in known if split != "train"]
    if not others:
        raise PrefixcapError(
            f"the data set {name!r} has no split to caption beside 'train': name some of its "
            "images 'test', and some 'val' to stop the training by"
        )
    test = next((split for split in ("test", "val") if split in others), others[-1])
    val = "val" if "val" in known and test != "val" else ""
    data = Data(
        train=_examples(dataset, "train", study.limit),
        val=_examples(dataset, val, study.limit) if val else (),
        test=_examples(dataset, test, study.limit),
        dataset=dataset,
        splits=("train", val, test),
        limit=study.limit,
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


def drop_failed(
    examples: Sequence[Example], features: Tensor
) -> tuple[list[Example], Tensor, list[Example]]:
    """Parts examples into those with features, their features, and those that were unreadable."""
    from prefixcap.captioning.encode_images import is_finite

    good = is_finite(features).tolist()
    kept = [example for example, well in zip(examples, good, strict=True) if well]
    lost = [example for example, well in zip(examples, good, strict=True) if not well]
    return kept, features[is_finite(features)], lost


@attrs.frozen(kw_only=True)
class TrainingData:
    """What mappers are trained on.

    Attributes:
        features: (B,D) or (B,N,D).
        examples: B examples.
        val_features: the same of the validation images; None without such a split.
        val_examples: their examples.
        key: a digest of all of it.
    """

    features: Tensor
    examples: Sequence[Example]
    val_features: Tensor | None
    val_examples: Sequence[Example]
    key: str


def training_data(features: Features, data: Data) -> tuple[TrainingData, list[str]]:
    """Encodes what mappers are trained on.

    Returns:
        The training data, and the ids of images that could not be read.
    """
    train, found, lost = drop_failed(data.train, features.of(data.splits[0], data.train))
    val, val_found, val_lost = list[Example](), None, list[Example]()
    if data.val:
        val, val_found, val_lost = drop_failed(data.val, features.of(data.splits[1], data.val))
    made = TrainingData(
        features=found,
        examples=train,
        val_features=val_found,
        val_examples=val,
        key=training_key(features, train, val),
    )
    return made, [example.image.id for example in (*lost, *val_lost)]


def _examples(dataset: Dataset, split: str, limit: int | None) -> Sequence[Example]:
    return dataset.examples(split)[:limit]
