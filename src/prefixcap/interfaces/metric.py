"""Metrics: from records (an image's caption and references) to scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

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
    """

    values: Mapping[str, float]
    per_image: Mapping[str, tuple[float, ...]] = attrs.field(factory=dict, repr=False)


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
    lower_is_better: ClassVar[frozenset[str]] = frozenset()
    """The names of the scores for which lower is better, such as an error rate."""
    min_samples: ClassVar[Mapping[str, int]] = {}
    """The number of "images", and of "references" per image, below which a warning is shown."""

    @abstractmethod
    def build(self) -> Metric:
        """Build the metric."""
