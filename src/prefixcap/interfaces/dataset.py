"""Data sets: images with reference captions, in splits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import attrs
from typing_extensions import override

from prefixcap.errors import PrefixcapError, listed, nearest, shown
from prefixcap.interfaces.component import Component

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

NO_INDEX = -1
"""The index of an image that belongs to no data set."""


SPLIT_NAMES: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "validation", "valid", "dev"),
    "test": ("test", "testing"),
}
"""The splits that a study uses, each with the names by which it is understood, in any case."""


def known_split(split: str) -> str:
    """Return train, val or test if that is what a split's name means, or ""."""
    return next((known for known, names in SPLIT_NAMES.items() if split.lower() in names), "")


def find_split(splits: Sequence[str], wanted: str) -> str | None:
    """Return the split of a data set that is meant by one of the names in `SPLIT_NAMES`.

    Returns:
        The split of exactly this name, or the only one with a name of the same meaning; None if
        there is none.

    Raises:
        PrefixcapError: If several splits may be meant.
    """
    if wanted in splits:
        return wanted
    meant = SPLIT_NAMES.get(known_split(wanted), (wanted,))
    found = [split for split in splits if split.lower() in meant]
    if len(found) > 1:
        names = listed(map(shown, found))
        raise PrefixcapError(
            f"the split {wanted!r} may be any of {names}: rename one to {wanted!r}"
        )
    return found[0] if found else None


@attrs.frozen(kw_only=True)
class ImageItem:
    """One image of a data set, not yet read.

    Attributes:
        id: The image's name in results, unique in its data set.
        index: Its row in the data set's own order over all splits, or `NO_INDEX`.
        path: The image file, if there is one.
        open: Reads (or draws) the image.
        embedding: Reads the precomputed feature (D) or (N,D), if the data set has one.
        digest: Returns a hash of the image's content and embedding, which addresses its features;
            without one, the data set's digest is used.
        content: Returns the bytes of the image's file if it is not one of its own, such as in an
            archive.
    """

    id: str
    index: int
    path: Path | None = None
    open: Callable[[], Image.Image] | None = attrs.field(default=None, eq=False, repr=False)
    embedding: Callable[[], np.ndarray] | None = attrs.field(default=None, eq=False, repr=False)
    digest: Callable[[], str] | None = attrs.field(default=None, eq=False, repr=False)
    content: Callable[[], bytes] | None = attrs.field(default=None, eq=False, repr=False)


@attrs.frozen(kw_only=True)
class Example:
    """One image with its reference captions, of which a data set may have none."""

    image: ImageItem
    references: tuple[str, ...]


class Dataset(ABC):
    """Images with their captions, in splits."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {', '.join(self.splits)}>"

    @property
    @abstractmethod
    def splits(self) -> tuple[str, ...]:
        """The names of the splits, such as ("train", "val", "test")."""

    @abstractmethod
    def examples(self, split: str) -> Sequence[Example]:
        """Return a split's examples, always in the same order."""

    @abstractmethod
    def digest(self) -> str:
        """Return a hash of the entire content, which addresses a study's artifacts."""


class InMemoryDataset(Dataset):
    """The base of data sets whose examples are in memory; subclasses add the digest.

    Args:
        place: Name of the data set in error messages.
        examples: Examples of each split.
    """

    def __init__(self, place: str, examples: Mapping[str, Sequence[Example]]) -> None:
        self._place = place
        self._examples = {split: tuple(each) for split, each in examples.items()}

    @property
    @override
    def splits(self) -> tuple[str, ...]:
        return tuple(self._examples)

    @override
    def examples(self, split: str) -> Sequence[Example]:
        known = [name for name, examples in self._examples.items() if examples]
        found = find_split(known, split)
        if found is None:
            raise PrefixcapError(f"{self._place}: no split {split!r}{nearest(split, known)}")
        return self._examples[found]


@attrs.frozen(kw_only=True)
class DatasetConfig(Component):
    """The base of data set configs."""

    kind: ClassVar[str] = "dataset"
    recommended: ClassVar[Mapping[str, str]] = {}
    """Specs of the components, by kind, that `bench` uses with this data set by default.

    The key "training" holds training settings, such as "epochs=3".
    """

    @abstractmethod
    def build(self) -> Dataset:
        """Open the data set.

        Raises:
            PrefixcapError: If a file is missing or broken; the message names it (and its line).
        """
