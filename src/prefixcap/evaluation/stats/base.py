"""Corpus scores that can be computed again on a resampled corpus."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from prefixcap.errors import PrefixcapError

if TYPE_CHECKING:
    from prefixcap.interfaces.metric import Record

Array: TypeAlias = NDArray[np.float64]

Captions: TypeAlias = Mapping[Any, Sequence[str]]
"""Tokenised captions by image, words joined by spaces: what pycocoevalcap's scorers take."""


class Statistic(ABC):
    """K scores of a corpus of I images, for any resample of the images.

    A resample is how often it holds each image, so resampling never copies a caption.
    """

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """What the K scores are called."""

    @property
    @abstractmethod
    def images(self) -> tuple[Hashable, ...]:
        """The I images; statistics are compared where these are the same."""

    @abstractmethod
    def resampled(self, weights: NDArray[np.int64]) -> Array:
        """Computes the scores of resampled corpora.

        Args:
            weights: (S,I), how often each resample holds each image.

        Returns:
            (S,K).
        """

    @abstractmethod
    def features(self) -> Array:
        """Returns (I,F), what each image brings to the sums that the scores are made of."""

    @abstractmethod
    def combined(self, sums: Array) -> Array:
        """Computes scores (S,K) from sums (S,F) of I images' features.

        The images are those of the corpus, each once; only the predictions may be another's.
        """


class Additive(Statistic):
    """A statistic whose features are the same in every resample, such as a mean or BLEU."""

    @final
    def resampled(self, weights: NDArray[np.int64]) -> Array:
        """Computes the scores (S,K) of resampled corpora, by weights (S,I)."""
        return self.combined(weights @ self.features())


@final
class Mean(Additive):
    """Means over images of per-image scores.

    Args:
        values: each score's I values.
        images: the images, in the values' order.

    Raises:
        PrefixcapError: there are no images, or their number is not that of the values.
    """

    def __init__(self, values: Mapping[str, Sequence[float]], images: Sequence[Hashable]) -> None:
        for name, each in values.items():
            if len(each) != len(images):
                raise PrefixcapError(f"{name} has {len(each)} values of {len(images)} images")
        check_images(images)
        self._names, self._images = tuple(values), tuple(images)
        columns = [np.asarray(each, dtype=np.float64) for each in values.values()]
        self._features = np.stack([*columns, np.ones(len(images))], axis=1)

    @property
    def names(self) -> tuple[str, ...]:
        """The scores' names."""
        return self._names

    @property
    def images(self) -> tuple[Hashable, ...]:
        """The images."""
        return self._images

    def features(self) -> Array:
        """Returns (I,K+1), the values and a one."""
        return self._features

    def combined(self, sums: Array) -> Array:
        """Divides the sums (S,K+1) of values by those of ones."""
        means: Array = sums[:, :-1] / sums[:, -1:]
        return means


class Resamplable(ABC):
    """What a metric derives from, besides `Metric`, when its score is no mean over images."""

    @abstractmethod
    def statistic(self, records: Sequence[Record]) -> Statistic:
        """Prepares the records' scores for resampling; `names` are those of `Metric.score`.

        The records are the images: `images` are `record.image`.

        Raises:
            PrefixcapError: as `Metric.score`.
        """


def check_images(images: Sequence[Hashable]) -> None:
    """Checks that there are images.

    Raises:
        PrefixcapError: there are none.
    """
    if not images:
        raise PrefixcapError("there is nothing to resample: no images")


def check_captions(references: Captions, predictions: Captions) -> tuple[Hashable, ...]:
    """Checks that references and predictions are of the same images.

    Args:
        references: each image's references, at least one.
        predictions: each image's prediction, in a list of one.

    Returns:
        The images.

    Raises:
        PrefixcapError: the images differ, there are none, or one lacks captions.
    """
    if list(references) != list(predictions):
        lacking = set(references) ^ set(predictions)
        what = f"{next(iter(lacking))!r} is in one only" if lacking else "their order differs"
        raise PrefixcapError(f"references and predictions are not of the same images: {what}")
    check_images(tuple(references))
    for image, found in references.items():
        if not found or len(predictions[image]) != 1:
            raise PrefixcapError(
                f"the image {image!r} has {len(found)} references and "
                f"{len(predictions[image])} predictions, not at least one and exactly one"
            )
    return tuple(references)


Ints = NDArray[np.int64]
