"""TODO."""

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
    """One image's predicted caption beside its references.

    Attributes:
        image: the image's id.
        references: the human captions.
        prediction: the caption that is scored.
        captions: every caption that was made for the image, best first, where that is known; the
            first is the prediction.
        logprobs: the model's own log-probability of each, where a decoder made them.
        tokens: the number of tokens of each, the stop token included, likewise.
        finishes: how each ended, "stop" or "length", likewise.
        item: the image itself, where it is at hand.
        feature: the image's feature (D) or (N,D) by the study's encoder, likewise.
        text_encoder: the texts' side of that encoder, which compares the feature with captions.
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
        """Returns the record with one of its captions as the prediction; the others follow it."""

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
    """What a metric gives.

    Attributes:
        values: the corpus score of each named measure, such as {"Bleu_1": 0.57, ...}.
        per_image: each measure's score of each record, in the records' order, where it has one.
    """

    values: Mapping[str, float]
    per_image: Mapping[str, tuple[float, ...]] = attrs.field(factory=dict)


class Metric(ABC):
    """A measure of captions."""

    @abstractmethod
    def score(self, records: Sequence[Record]) -> Scores:
        """Scores the predictions of all records together.

        Raises:
            PrefixcapError: something that the metric needs (Java, models, references) is missing.
        """


@attrs.frozen(kw_only=True)
class MetricConfig(Component):
    """The base of metric configs."""

    kind: ClassVar[str] = "metric"
    requires: ClassVar[frozenset[str]] = frozenset()
    """What records must have besides texts, or the metric is not asked.

    "image": the image or its feature, with the encoder's text side; "search": what the decoder
    says of its captions (`logprobs`, `tokens`, `finishes`); "several": two captions or more.
    """
    lower_is_better: ClassVar[frozenset[str]] = frozenset()
    """The names of the values that are the better the smaller they are, such as an error rate."""
    min_samples: ClassVar[Mapping[str, int]] = {}
    """How many "images", and "references" of each, its scores mean something from; 1 unless given.

    Where there are fewer, that is said in a warning.
    """

    @abstractmethod
    def build(self) -> Metric:
        """Makes the metric."""
