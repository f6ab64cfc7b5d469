"""BLEU, ROUGE-L and CIDEr-D, as pycocoevalcap computes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from typing_extensions import override

from prefixcap.evaluation.stats import Resamplable
from prefixcap.interfaces.metric import Metric, Record, Scores
from prefixcap_metrics.ptb_tokenizer import by_image, tokenise_records
from prefixcap_metrics.resampling.bleu import BleuStatistic
from prefixcap_metrics.resampling.cider import CiderStatistic

if TYPE_CHECKING:
    from prefixcap.evaluation.stats import Statistic


LONG = 200_000
"""Characters of a caption from which CIDEr is counted in arrays: in pycocoevalcap's dictionaries
each takes 220 bytes."""


class BleuMetric(Metric, Resamplable):
    """Corpus BLEU-1 to BLEU-4 with the closest reference length."""

    @override
    def score(self, records: Sequence[Record]) -> Scores:
        from pycocoevalcap.bleu.bleu import Bleu

        tokens = tokenise_records(records)
        values, each = Bleu(4).compute_score(tokens.references, tokens.predictions, verbose=0)
        names = [f"Bleu_{n}" for n in range(1, 5)]
        return Scores(
            values={name: float(value) for name, value in zip(names, values, strict=True)},
            per_image={name: _floats(scores) for name, scores in zip(names, each, strict=True)},
        )

    @override
    def statistic(self, records: Sequence[Record]) -> Statistic:
        return BleuStatistic(*by_image(records))


class RougeMetric(Metric):
    """ROUGE-L, the mean over images."""

    @override
    def score(self, records: Sequence[Record]) -> Scores:
        from pycocoevalcap.rouge.rouge import Rouge

        tokens = tokenise_records(records)
        value, each = Rouge().compute_score(tokens.references, tokens.predictions)
        return Scores(values={"ROUGE_L": float(value)}, per_image={"ROUGE_L": _floats(each)})


class CiderMetric(Metric, Resamplable):
    """CIDEr-D, the mean over images, with document frequencies from their references."""

    @override
    def score(self, records: Sequence[Record]) -> Scores:
        from pycocoevalcap.cider.cider import Cider

        tokens = tokenise_records(records)
        if max(len(texts[0]) for texts in tokens.predictions.values()) > LONG:
            each = CiderStatistic(tokens.references, tokens.predictions).per_image()
            return Scores(values={"CIDEr": float(each.mean())}, per_image={"CIDEr": _floats(each)})
        value, each = Cider().compute_score(tokens.references, tokens.predictions)
        return Scores(values={"CIDEr": float(value)}, per_image={"CIDEr": _floats(each)})

    @override
    def statistic(self, records: Sequence[Record]) -> Statistic:
        return CiderStatistic(*by_image(records))


def _floats(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
