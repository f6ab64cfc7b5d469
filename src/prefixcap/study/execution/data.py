"""The splits of a study's data set."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.dataset import Dataset, Example
from prefixcap.plugin import specs
from prefixcap.study.definition.study import Study


@attrs.frozen(kw_only=True)
class StudyData:
    """The splits that a study uses.

    Attributes:
        val: The examples that stop the training; empty if the data set has no such split.
        names: The names of the three splits; "" for one that is not used.
    """

    train: Sequence[Example]
    val: Sequence[Example]
    test: Sequence[Example]
    dataset: Dataset
    names: tuple[str, str, str]

    @property
    def splits(self) -> dict[str, Sequence[Example]]:
        """The examples of each split that exists, by its name."""
        parts = zip(self.names, (self.train, self.val, self.test), strict=True)
        return {name: examples for name, examples in parts if name}

    def without_test(self) -> StudyData:
        """Return the splits for training alone."""
        return attrs.evolve(self, test=(), names=(*self.names[:2], ""))

    @property
    def warning(self) -> str | None:
        """The warning that another split replaces a missing split 'test'."""
        _, val, test = self.names
        if test == "test":
            return None
        also = "" if val else ", and no split stops the training early"
        return f"warning: the data set has no split 'test': {test!r} is captioned and scored{also}"


def load(study: Study) -> StudyData:
    """Open a study's data set.

    Raises:
        PrefixcapError: If a split is missing or empty, or if train and test share an image.
    """
    dataset = study.dataset.build()
    name = specs.to_spec(study.dataset)
    test = _test_split(name, dataset.splits)
    val = "val" if "val" in dataset.splits and test != "val" else ""
    data = StudyData(
        train=dataset.examples("train")[: study.limit],
        val=dataset.examples(val)[: study.limit] if val else (),
        test=dataset.examples(test)[: study.limit],
        dataset=dataset,
        names=("train", val, test),
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


def _test_split(dataset: str, splits: Sequence[str]) -> str:
    """Return the split to caption: test, else val, else the last one beside train."""
    if "train" not in splits:
        raise PrefixcapError(f"the data set {dataset!r} has no split 'train', only {list(splits)}")
    others = [split for split in splits if split != "train"]
    if not others:
        raise PrefixcapError(
            f"the data set {dataset!r} has no split to caption beside 'train': name some of its "
            "images 'test', and some 'val' to stop the training"
        )
    return next((split for split in ("test", "val") if split in others), others[-1])
