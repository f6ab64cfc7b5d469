"""Corpus scores that can be recomputed on a resampled corpus."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from prefixcap.errors import PrefixcapError

if TYPE_CHECKING:
    from prefixcap.interfaces.metric import Record

Array: TypeAlias = NDArray[np.float64]

Ints: TypeAlias = NDArray[np.int64]

Captions: TypeAlias = Mapping[Any, Sequence[str]]
"""Tokenized captions by image, words joined by spaces, as pycocoevalcap's scorers take them."""


class Statistic(ABC):
    """K scores of a corpus of I images, for any resample of the images.

    A resample is a weight for each image, how often it was drawn, so captions are never copied.
    """

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """The names of the K scores."""

    @property
    @abstractmethod
    def images(self) -> tuple[Hashable, ...]:
        """The I images; only statistics of the same images can be compared."""

    @abstractmethod
    def resampled(self, weights: NDArray[np.int64]) -> Array:
        """Compute the scores of resampled corpora.

        Args:
            weights: (S,I), how often each resample holds each image.

        Returns:
            (S,K).
        """


class Additive(Statistic):
    """A statistic that is a function of sums over images, such as a mean or BLEU.

    Args:
        names: The names of the K scores.
        images: The I images.
        statistics: (I,F), what each image adds to the sums.
    """

    def __init__(self, names: Iterable[str], images: Iterable[Hashable], statistics: Array) -> None:
        self._names, self._images, self._statistics = tuple(names), tuple(images), statistics

    @property
    @override
    def names(self) -> tuple[str, ...]:
        return self._names

    @property
    @override
    def images(self) -> tuple[Hashable, ...]:
        return self._images

    def sufficient_statistics(self) -> Array:
        """Return (I,F), what each image adds to the sums."""
        return self._statistics

    @abstractmethod
    def aggregate(self, sums: Array) -> Array:
        """Compute scores (S,K) from sums (S,F) of sufficient statistics."""

    @final
    @override
    def resampled(self, weights: NDArray[np.int64]) -> Array:
        return self.aggregate(weights @ self.sufficient_statistics())  # (S,I) @ (I,F)


@final
class Mean(Additive):
    """Means over images of per-image scores, I values of each.

    Raises:
        PrefixcapError: If there are no images, or not as many as values.
    """

    def __init__(self, values: Mapping[str, Sequence[float]], images: Sequence[Hashable]) -> None:
        for name, each in values.items():
            if len(each) != len(images):
                raise PrefixcapError(f"{name} has {len(each)} values for {len(images)} images")
        check_images(images)
        columns = [np.asarray(each, dtype=np.float64) for each in values.values()]
        # the last column counts the images of a resample
        statistics = np.stack([*columns, np.ones(len(images))], axis=1)  # (I,K+1)
        super().__init__(values, images, statistics)

    @override
    def aggregate(self, sums: Array) -> Array:
        means: Array = sums[:, :-1] / sums[:, -1:]
        return means


class Resamplable(ABC):
    """A second base class for a metric whose score is not a mean over images."""

    @abstractmethod
    def statistic(self, records: Sequence[Record]) -> Statistic:
        """Prepare the records' scores for resampling.

        The statistic's `names` are those of `Metric.score`, its `images` are `record.image`.

        Raises:
            PrefixcapError: As `Metric.score`.
        """


def check_images(images: Sequence[Hashable]) -> None:
    """Raise an error if there are no images."""
    if not images:
        raise PrefixcapError("there is nothing to resample: no images")


def check_captions(references: Captions, predictions: Captions) -> tuple[Hashable, ...]:
    """Check that references and predictions are of the same images, and return the images.

    Raises:
        PrefixcapError: If the images differ, there are none, or one has no reference or not
            exactly one prediction.
    """
    if list(references) != list(predictions):
        lacking = set(references) ^ set(predictions)
        reason = f"{next(iter(lacking))!r} is in one only" if lacking else "their order differs"
        raise PrefixcapError(f"references and predictions are not of the same images: {reason}")
    check_images(tuple(references))
    for image, texts in references.items():
        if not texts or len(predictions[image]) != 1:
            raise PrefixcapError(
                f"the image {image!r} has {len(texts)} references and "
                f"{len(predictions[image])} predictions, not at least one and exactly one"
            )
    return tuple(references)
