"""The splits of a study's data set."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from prefixcap.errors import PrefixcapError, listed, nearest, shown
from prefixcap.interfaces.dataset import Dataset, Example, find_split
from prefixcap.plugin import specs
from prefixcap.plugin.building import build
from prefixcap.study.definition.study import Study

SHARES = "; the setting splits=0.8/0.1/0.1 of data sets on disk draws splits"


@attrs.frozen(kw_only=True)
class StudyData:
    """The splits that a study uses.

    Attributes:
        val: The examples that stop the training; empty if the data set has no such split.
        names: The names of the three splits; "" for one that is not used. A study may score the
            split that also stops its training.
        chosen: Whether the split to score was asked for.
    """

    train: Sequence[Example]
    val: Sequence[Example]
    test: Sequence[Example]
    dataset: Dataset
    names: tuple[str, str, str]
    chosen: bool = False

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
        """The warning that the scored split is not 'test', unless another one was asked for."""
        _, val, test = self.names
        if self.chosen and test == val:
            return (
                f"warning: {test!r} is scored, and also stops the training: choose settings by it, "
                "and report the scores of another split"
            )
        if self.chosen:
            return None
        if test == find_split([test], "test"):
            return None
        also = "" if val else ", and no split stops the training early"
        return f"warning: the data set has no split 'test': {test!r} is captioned and scored{also}"

    @property
    def unused(self) -> str | None:
        """The warning of splits that are neither trained on, nor stop the training, nor scored."""
        counts = {
            split: len(self.dataset.examples(split))
            for split in self.dataset.splits
            if split not in self.names
            and not (self.chosen and split == find_split(self.dataset.splits, "test"))
        }
        if not counts:
            return None
        named = listed(f"{shown(split)} ({n} images)" for split, n in counts.items())
        used = ", ".join(filter(None, self.names))
        return f"warning: splits of the data set that are not used: {named}; used: {used}"


def load(study: Study) -> StudyData:
    """Open a study's data set.

    Raises:
        PrefixcapError: If a split is missing or empty, or if train and test share an image.
    """
    dataset = build(study.dataset)
    name = specs.to_spec(study.dataset)
    train, test = _train_and_test(name, dataset.splits, study.split)
    # a split that is scored for want of another one does not stop the training as well, but one
    # that was asked for does, so that the models are those of the study of the test images
    others = [split for split in dataset.splits if split != test]
    val = find_split(dataset.splits if study.split else others, "val") or ""
    data = StudyData(
        train=dataset.examples(train)[: study.limit],
        val=dataset.examples(val)[: study.limit] if val else (),
        test=dataset.examples(test)[: study.limit],
        dataset=dataset,
        names=(train, val, test),
        chosen=study.split is not None,
    )
    for split, examples in ((train, data.train), (test, data.test)):
        if not examples:
            raise PrefixcapError(f"the split {split!r} of the data set {name!r} is empty")
    for split, examples in data.splits.items():
        uncaptioned = [example.image.id for example in examples if not example.references]
        if uncaptioned:
            raise PrefixcapError(
                f"the split {split!r} of the data set {name!r} has images without captions, such "
                f"as {shown(uncaptioned[0])}: a study needs captions; `caption` does not"
            )
    both = {e.image.id for e in data.train} & {e.image.id for e in data.test}
    if both:
        raise PrefixcapError(
            f"the data set {name!r}: {len(both)} images of {test!r} are in {train!r} as well, "
            f"such as {sorted(both)[0]!r}"
        )
    return data


def _train_and_test(dataset: str, splits: Sequence[str], chosen: str | None) -> tuple[str, str]:
    """Return the split to train on, and the one to caption.

    That is the chosen one, or by default test, else val, else the last other one.
    """
    train = find_split(splits, "train")
    if train is None:
        known = nearest("train", splits)
        raise PrefixcapError(f"the data set {dataset!r} has no split 'train'{known}{SHARES}")
    others = [split for split in splits if split != train]
    if chosen is not None:
        test = find_split(others, chosen)
        if test is None:
            reason = "is trained on" if find_split(splits, chosen) else "does not exist"
            raise PrefixcapError(
                f"--split: {chosen!r} of the data set {dataset!r} {reason}{nearest(chosen, others)}"
            )
        return train, test
    if not others:
        raise PrefixcapError(
            f"the data set {dataset!r} has no split to caption beside {train!r}: name some of its "
            f"images 'test', and some 'val' to stop the training{SHARES}"
        )
    return train, find_split(others, "test") or find_split(others, "val") or others[-1]
