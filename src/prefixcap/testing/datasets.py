"""Rules for data sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from prefixcap.errors import PrefixcapError
from prefixcap.kinds import Dataset, Example
from prefixcap.testing.case import Case
from prefixcap.testing.rules import BrokenRule, require, rule


def dataset(case: Case) -> Dataset:
    """Returns the case's data set, opened once."""
    return cast(Dataset, case.built())


def by_split(case: Case) -> dict[str, Sequence[Example]]:
    """Returns the examples of every split, read once."""

    def read() -> dict[str, Sequence[Example]]:
        return {split: dataset(case).examples(split) for split in dataset(case).splits}

    return cast(dict[str, Sequence[Example]], case.once("splits", read))


@rule("splits")
def splits(case: Case) -> None:
    """There are splits, each with its own name and at least one example."""
    names = dataset(case).splits
    require(bool(names) and len(set(names)) == len(names), f"the splits are {names}")
    empty = [split for split, examples in by_split(case).items() if not examples]
    require(not empty, f"the splits {empty} have no examples")


@rule("unknown-split")
def unknown_split(case: Case) -> None:
    """A split that is not there is an error that names it."""
    try:
        dataset(case).examples("no such split")
    except PrefixcapError as error:
        require("no such split" in str(error), f"the error does not name the split: {error}")
        return
    raise BrokenRule("a split that is not there was given")


@rule("unique-images")
def unique_images(case: Case) -> None:
    """No image stands twice, in one split or in two, by its id or by its index."""
    images = [example.image for examples in by_split(case).values() for example in examples]
    for what in ("id", "index"):
        found = [getattr(image, what) for image in images]
        twice = (
            sorted({value for value in found if found.count(value) > 1})[:3]
            if (len(set(found)) < len(found))
            else []
        )
        require(not twice, f"images share an {what}: {twice}")


@rule("order")
def order(case: Case) -> None:
    """The examples come in the same order each time, from a data set opened again too."""
    again = cast(Dataset, case.build())
    for split, examples in by_split(case).items():
        for when, other in (("twice", dataset(case)), ("anew", again)):
            same = [e.image.id for e in other.examples(split)] == [e.image.id for e in examples]
            require(same, f"asked {when}, {split!r} comes in another order")


@rule("references")
def references(case: Case) -> None:
    """Every example has references: texts that are not blank."""
    for split, examples in by_split(case).items():
        for example in examples:
            good = all(isinstance(text, str) and text.strip() for text in example.references)
            require(
                good and bool(example.references),
                f"{example.image.id!r} of {split!r} has the references {example.references}",
            )


@rule("readable-images")
def readable_images(case: Case) -> None:
    """An image can be opened or has an embedding, and reads the same a second time."""
    import numpy as np

    for split, examples in by_split(case).items():
        image = examples[0].image
        readers = [reader for reader in (image.open, image.embedding) if reader is not None]
        require(bool(readers), f"{image.id!r} of {split!r} has neither image nor embedding")
        for reader in readers:
            one, two = (np.asarray(reader()) for _ in range(2))
            require(one.ndim in (1, 2, 3) and one.size > 0, f"{image.id!r} is {one.shape}")
            require(bool(np.array_equal(one, two)), f"{image.id!r} reads otherwise the second time")


@rule("digest")
def digest(case: Case) -> None:
    """The digest is the same for a data set that is opened again."""
    one, two = dataset(case).digest(), cast(Dataset, case.build()).digest()
    require(bool(one) and one == two, f"the digests of two builds are {one!r} and {two!r}")


RULES = (splits, unknown_split, unique_images, order, references, readable_images, digest)
