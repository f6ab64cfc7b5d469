"""TODO."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import attrs

from prefixcap.interfaces.component import Component

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image


LOOSE = -1
"""The number of an image that is of no data set."""


@attrs.frozen(kw_only=True)
class ImageItem:
    """One image of a data set, not yet read.

    Attributes:
        id: what names the image in results; unique in its data set.
        index: its row in the data set's own order, all splits together; `LOOSE` of a single image.
        path: the image file, where there is one.
        open: reads (or draws) the image.
        embedding: reads the precomputed feature (D) or (N,D), where the data set has one.
        digest: returns a hash of what the image shows and of its embedding, which addresses its
            features; the data set's digest stands in where there is none.
    """

    id: str
    index: int
    path: Path | None = None
    open: Callable[[], Image.Image] | None = attrs.field(default=None, eq=False, repr=False)
    embedding: Callable[[], np.ndarray] | None = attrs.field(default=None, eq=False, repr=False)
    digest: Callable[[], str] | None = attrs.field(default=None, eq=False, repr=False)


@attrs.frozen(kw_only=True)
class Example:
    """One image with its reference captions."""

    image: ImageItem
    references: tuple[str, ...]


class Dataset(ABC):
    """Images with their captions, in splits."""

    @property
    @abstractmethod
    def splits(self) -> tuple[str, ...]:
        """The names of the splits, such as ("train", "val", "test")."""

    @abstractmethod
    def examples(self, split: str) -> Sequence[Example]:
        """Returns a split's examples, always in the same order."""

    @abstractmethod
    def digest(self) -> str:
        """Returns a hash of everything that the data set gives, for addressing artifacts."""


@attrs.frozen(kw_only=True)
class DatasetConfig(Component):
    """The base of data set configs."""

    kind: ClassVar[str] = "dataset"
    recommended: ClassVar[Mapping[str, str]] = {}
    """Specs of the components (by kind) that `bench` uses with this data set unless told.

    The key "training" holds settings of the training, such as "epochs=3".
    """

    @abstractmethod
    def build(self) -> Dataset:
        """Opens the data set.

        Raises:
            PrefixcapError: a file is missing or broken; the sentence names it (and its line).
        """
