"""Rules for data sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, cast

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.dataset import Dataset, DatasetConfig, Example, ImageItem
from prefixcap.interfaces.kinds import KINDS
from prefixcap.plugin import specs
from prefixcap.testing.case import Case
from prefixcap.testing.rules.helpers import same_digest
from prefixcap.testing.rules.rule import BrokenRule, require, rule


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
    """No image stands twice, in one split or in two, by its id (a text) or its index (an int)."""
    kind: type
    for what, kind in (("id", str), ("index", int)):
        found = [getattr(image, what) for image in _images(case)]
        other = [value for value in found if not isinstance(value, kind)]
        require(not other, f"an {what} is {other[:1]}, not a {kind.__name__}")
        twice = [value for value, count in Counter(found).items() if count > 1]
        require(not twice, f"images share an {what}: {sorted(twice)[:3]}")


@rule("order")
def order(case: Case) -> None:
    """The same examples come in the same order each time, from a data set opened again too."""
    again = cast(Dataset, case.build())
    for split, examples in by_split(case).items():
        right = list(map(_told, examples))
        for when, other in (("twice", dataset(case)), ("anew", again)):
            found = list(map(_told, other.examples(split)))
            pairs = zip(found, right, strict=False)
            at = next((i for i, (one, two) in enumerate(pairs) if one != two), len(right))
            same = found == right
            said = f"asked {when}, {split!r} has other examples or another order from number {at}"
            require(same, said)


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
    """Images can be opened or have embeddings, each its own, and read the same a second time."""
    import numpy as np

    for split, examples in by_split(case).items():
        ends = [examples[0].image, *(example.image for example in examples[1:][-1:])]
        read = [_read(image, split) for image in ends]
        for image, first in zip(ends, read, strict=True):
            for what, again in _read(image, split).items():
                same = bool(np.array_equal(first[what], again))
                require(same, f"{image.id!r}: its {what} reads otherwise the second time")
        for what in (what for what in read[0] if all(what in each for each in read[1:])):
            alike = len(read) > 1 and bool(np.array_equal(read[0][what], read[1][what]))
            names = " and ".join(repr(image.id) for image in ends)
            require(not alike, f"the first and the last of {split!r}, {names}, have one {what}")


@rule("image-digests")
def image_digests(case: Case) -> str | None:
    """The images' digests, where they have some, are texts that stay as they are, not all alike."""
    images = [image for image in _images(case) if image.digest is not None]
    if not images:
        return "its images have no digests: the data set's stands in"
    # a large data set's images need not all be read
    some = [*images[:3], *images[3:][-3:]]
    one, two = ([image.digest() for image in some if image.digest] for _ in range(2))
    other = [value for value in one if not isinstance(value, str) or not value]
    require(not other, f"the digest of an image is {other[:1]}, not a text")
    require(one == two, f"asked twice, the digests of images are {one} and {two}")
    require(len(images) < 2 or len(set(one)) > 1, f"the digests of images are all {one[0]!r}")
    return None


@rule("recommended")
def recommended(case: Case) -> str | None:
    """The components that a data set is used with are known, where the case has a registry."""
    found = cast(DatasetConfig, case.config).recommended
    if not found or case.registry is None:
        return "nothing is recommended" if not found else "the case has no registry"
    for kind, spec in found.items():
        if kind == "training":
            specs.split(f"training:{spec}")
            continue
        require(
            kind in KINDS, f"recommended: no kind {kind!r}; known: training, {', '.join(KINDS)}"
        )
        for one in specs.split_list(spec):
            case.registry.parse(KINDS[kind], one)
    return None


@rule("digest")
def digest(case: Case) -> None:
    """The digest is the same for a data set that is opened again."""
    same_digest(case)


def _images(case: Case) -> list[ImageItem]:
    return [example.image for examples in by_split(case).values() for example in examples]


def _told(example: Example) -> tuple[str, int, tuple[str, ...]]:
    return example.image.id, example.image.index, example.references


def _read(image: ImageItem, split: str) -> dict[str, Any]:
    """Reads what an image has, its pixels and its embedding, as arrays."""
    import numpy as np
    from PIL import Image

    found: dict[str, Any] = {}
    if image.open is not None:
        opened = image.open()
        kind = f"{type(opened).__module__}.{type(opened).__name__}"
        good = isinstance(opened, Image.Image)
        require(good, f"{image.id!r} of {split!r} opens as a {kind}, not a PIL.Image.Image")
        found["image"] = np.asarray(opened)
    if image.embedding is not None:
        found["embedding"] = np.asarray(image.embedding())
        shape = found["embedding"].shape
        good = len(shape) in (1, 2) and 0 not in shape
        require(good, f"{image.id!r}: its embedding is {shape}, neither (D) nor (N,D)")
    require(bool(found), f"{image.id!r} of {split!r} has neither image nor embedding")
    return found


RULES = (
    splits,
    unknown_split,
    unique_images,
    order,
    references,
    readable_images,
    image_digests,
    recommended,
    digest,
)
