"""Metrics: from records (an image's caption and references) to scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs

from prefixcap.interfaces.component import Component
from prefixcap.interfaces.dataset import ImageItem

if TYPE_CHECKING:
    from torch import Tensor

    from prefixcap.interfaces.text_encoder import TextEncoder


@attrs.frozen(kw_only=True)
class Record:
    """One image's predicted caption and its references.

    Attributes:
        image: The image's id.
        references: The reference captions.
        prediction: The caption that is scored.
        captions: All captions of the image, best first, if known; the first is the prediction.
        logprobs: The model's own log-probability of each caption, if a decoder wrote them.
        tokens: The number of tokens of each caption, stop token included, if a decoder wrote them.
        finishes: The finish reason of each caption, "stop" or "length", if a decoder wrote them.
        item: The image itself, if available.
        feature: The image's feature (D) or (N,D) by the study's encoder, if available.
        text_encoder: That encoder's text tower, which compares the feature with captions.
    """

    image: str
    references: tuple[str, ...]
    prediction: str
    captions: tuple[str, ...] = ()
    logprobs: tuple[float, ...] = ()
    tokens: tuple[int, ...] = ()
    finishes: tuple[str, ...] = ()
    item: ImageItem | None = attrs.field(default=None, eq=False, repr=False)
    feature: Tensor | None = attrs.field(default=None, eq=False, repr=False)
    text_encoder: TextEncoder | None = attrs.field(default=None, eq=False, repr=False)

    def predicting(self, number: int) -> Record:
        """Return the record with another of its captions moved to the front, as the prediction."""

        def first(values: tuple[Any, ...]) -> tuple[Any, ...]:
            return values and (values[number], *values[:number], *values[number + 1 :])

        return attrs.evolve(
            self,
            prediction=self.captions[number] if self.captions else self.prediction,
            captions=first(self.captions),
            logprobs=first(self.logprobs),
            tokens=first(self.tokens),
            finishes=first(self.finishes),
        )


@attrs.frozen(kw_only=True)
class Scores:
    """The result of a metric.

    Attributes:
        values: The corpus score of each named measure, such as {"Bleu_1": 0.57, ...}.
        per_image: The scores of each record, in the records' order, for measures that have them.
        undefined: Why measures are left out, to follow "the metric X"; empty if none is.
    """

    values: Mapping[str, float]
    per_image: Mapping[str, tuple[float, ...]] = attrs.field(factory=dict, repr=False)
    undefined: str = attrs.field(default="", repr=False)


@attrs.frozen(kw_only=True)
class Scale:
    """How a score is read: which values are better, which are possible, and where it is shown.

    Attributes:
        better: "higher" or "lower"; "" if neither is better, as for a caption's length.
        low: The lowest possible value, at which intervals end; None if there is none.
        high: The highest possible value.
        main_rank: The rank among the scores that can be a table's main one, the lowest first; None
            if it cannot be.
        diversity_rank: The rank among the measures of diversity, of which the report draws the
            first; None if it is not one.
        headline: Whether a paper's table and a narrow terminal have it.
    """

    better: Literal["higher", "lower", ""] = ""
    low: float | None = None
    high: float | None = None
    main_rank: int | None = None
    diversity_rank: int | None = None
    headline: bool = False

    def __attrs_post_init__(self) -> None:
        if self.main_rank is not None and not self.better:
            raise ValueError("a score with a main_rank needs a better direction")

    @property
    def range(self) -> tuple[float | None, float | None]:
        """The lowest and the highest possible value."""
        return self.low, self.high

    @property
    def sign(self) -> int:
        """1 if a higher value is better or neither is, -1 if a lower one is."""
        return -1 if self.better == "lower" else 1


NO_SCALE = Scale()
"""That of a score about which its metric says nothing."""


class Metric(ABC):
    """Scores captions."""

    @abstractmethod
    def score(self, records: Sequence[Record]) -> Scores:
        """Score the predictions of all records together.

        Raises:
            PrefixcapError: If something that the metric needs (Java, a model) is missing.
        """


@attrs.frozen(kw_only=True)
class MetricConfig(Component):
    """The base of metric configs."""

    kind: ClassVar[str] = "metric"
    requires: ClassVar[frozenset[str]] = frozenset()
    """What records must have besides texts; otherwise the metric is skipped.

    "image": the image or its feature, and the encoder's text tower; "search": `logprobs`, `tokens`
    and `finishes` from the decoder; "several": two captions or more.
    """
    scales: ClassVar[Mapping[str, Scale]] = {}
    """How its scores are read, by their names or patterns of them, such as `Distinct_*`."""
    min_samples: ClassVar[Mapping[str, int]] = {}
    """The number of "images", and of "references" per image, below which a warning is shown."""
    needs_spaces: ClassVar[bool] = False
    """Whether words are found by the spaces between them, which not all scripts have."""

    @abstractmethod
    def build(self) -> Metric:
        """Build the metric."""

    def scale(self, score: str) -> Scale | None:
        """Return how a score is read; None if `scales` has no such name and no pattern of it."""
        matches = (each for name, each in self.scales.items() if fnmatchcase(score, name))
        return self.scales.get(score) or next(matches, None)


def scale_of(metrics: Iterable[MetricConfig], score: str) -> Scale:
    """Return how a score of one of some metrics is read."""
    known = (metric.scale(score) for metric in metrics)
    return next((scale for scale in known if scale is not None), NO_SCALE)
