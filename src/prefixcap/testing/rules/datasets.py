"""Rules for data sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from PIL import Image

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.dataset import Dataset, DatasetConfig, Example, ImageItem
from prefixcap.interfaces.kinds import KINDS
from prefixcap.plugin import specs
from prefixcap.testing.case import Case
from prefixcap.testing.rules.helpers import digest as digest
from prefixcap.testing.rules.rule import BrokenRule, require, rule


def dataset(case: Case) -> Dataset:
    """Return the case's data set, opened once."""
    return cast(Dataset, case.built())


def by_split(case: Case) -> dict[str, Sequence[Example]]:
    """Return the examples of every split, read once."""
    data = dataset(case)
    return case.once("splits", lambda: {split: data.examples(split) for split in data.splits})


def images(case: Case) -> list[ImageItem]:
    """Return the images of all splits."""
    return [example.image for examples in by_split(case).values() for example in examples]


@rule("splits")
def splits(case: Case) -> None:
    """There are splits, each with a unique name and at least one example."""
    names = dataset(case).splits
    require(bool(names) and len(set(names)) == len(names), f"the splits are {names}")
    empty = [split for split, examples in by_split(case).items() if not examples]
    require(not empty, f"the splits {empty} have no examples")


@rule("unknown-split")
def unknown_split(case: Case) -> None:
    """Asking for an unknown split raises a `PrefixcapError` that names it."""
    try:
        dataset(case).examples("no such split")
    except PrefixcapError as error:
        require("no such split" in str(error), f"the error does not name the split: {error}")
        return
    raise BrokenRule("an unknown split was returned")


@rule("unique-images")
def unique_images(case: Case) -> None:
    """No two images share an id (a text) or an index (an int), in one split or in two."""
    kind: type
    for attribute, kind in (("id", str), ("index", int)):
        values = [getattr(image, attribute) for image in images(case)]
        other = [value for value in values if not isinstance(value, kind)]
        require(not other, f"an {attribute} is {other[:1]}, not a {kind.__name__}")
        repeated = [value for value, count in Counter(values).items() if count > 1]
        require(not repeated, f"images share an {attribute}: {sorted(repeated)[:3]}")


@rule("order")
def order(case: Case) -> None:
    """The examples come in the same order each time, also when the data set is opened again."""
    reopened = cast(Dataset, case.build())
    for split, examples in by_split(case).items():
        expected = list(map(_identity, examples))
        for when, other in (("a second time", dataset(case)), ("opened again", reopened)):
            actual = list(map(_identity, other.examples(split)))
            pairs = zip(actual, expected, strict=False)
            at = next((i for i, (one, two) in enumerate(pairs) if one != two), len(expected))
            require(actual == expected, f"{when}, {split!r} has other examples from number {at} on")


@rule("references")
def references(case: Case) -> None:
    """No reference is blank; all examples of a split have references, or none has."""
    for split, examples in by_split(case).items():
        has_some = any(example.references for example in examples)
        for example in examples:
            valid = all(isinstance(text, str) and text.strip() for text in example.references)
            require(
                valid and bool(example.references) == has_some,
                f"{example.image.id!r} of {split!r} has the references {example.references}",
            )


@rule("readable-images")
def readable_images(case: Case) -> None:
    """Images can be opened or have embeddings, which differ and are the same each time."""
    for split, examples in by_split(case).items():
        ends = [examples[0].image, *(example.image for example in examples[1:][-1:])]
        read = [_read(image, split) for image in ends]
        for image, first in zip(ends, read, strict=True):
            for content, again in _read(image, split).items():
                same = np.array_equal(first[content], again)
                require(same, f"{image.id!r}: its {content} differs when read a second time")
        names = " and ".join(repr(image.id) for image in ends)
        for content in set.intersection(*map(set, read)) if len(read) > 1 else ():
            equal = np.array_equal(read[0][content], read[1][content])
            require(not equal, f"the first and last of {split!r}, {names}, have the same {content}")


@rule("image-digests")
def image_digests(case: Case) -> str | None:
    """Image digests, if there are any, are texts that stay the same and are not all equal."""
    digested = [image for image in images(case) if image.digest is not None]
    if not digested:
        return "its images have no digests, so the data set's is used"
    # a few are enough: a large data set would take long
    some = [*digested[:3], *digested[3:][-3:]]
    one, two = ([image.digest() for image in some if image.digest] for _ in range(2))
    other = [value for value in one if not isinstance(value, str) or not value]
    require(not other, f"the digest of an image is {other[:1]}, not a text")
    require(one == two, f"the digests of images are {one}, and {two} the second time")
    require(len(digested) < 2 or len(set(one)) > 1, f"the digests of images are all {one[0]!r}")
    return None


@rule("recommended")
def recommended(case: Case) -> str | None:
    """The recommended components exist, if the case has a registry."""
    specs_by_kind = cast(DatasetConfig, case.config).recommended
    if not specs_by_kind:
        return "nothing is recommended"
    if case.registry is None:
        return "the case has no registry"
    for kind, spec in specs_by_kind.items():
        if kind == "training":
            specs.split_settings(spec, "training")
            continue
        known = f"training, {', '.join(KINDS)}"
        require(kind in KINDS, f"recommended: no kind {kind!r}; known: {known}")
        for one in specs.split_list(spec):
            case.registry.parse(KINDS[kind], one)
    return None


def _identity(example: Example) -> tuple[str, int, tuple[str, ...]]:
    return example.image.id, example.image.index, example.references


def _read(image: ImageItem, split: str) -> dict[str, Any]:
    """Read an image's pixels and embedding, if it has them, as arrays."""
    arrays: dict[str, Any] = {}
    if image.open is not None:
        opened = image.open()
        kind = f"{type(opened).__module__}.{type(opened).__name__}"
        valid = isinstance(opened, Image.Image)
        require(valid, f"{image.id!r} of {split!r} opens as a {kind}, not a PIL.Image.Image")
        arrays["image"] = np.asarray(opened)
    if image.embedding is not None:
        arrays["embedding"] = np.asarray(image.embedding())
        shape = arrays["embedding"].shape
        valid = len(shape) in (1, 2) and 0 not in shape
        require(valid, f"{image.id!r}: its embedding is {shape}, neither (D) nor (N,D)")
    require(bool(arrays), f"{image.id!r} of {split!r} has neither image nor embedding")
    return arrays
