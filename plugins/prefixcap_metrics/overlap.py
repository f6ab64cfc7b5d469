"""BLEU, ROUGE-L and CIDEr-D, as pycocoevalcap computes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from prefixcap.evaluation.stats import Resamplable
from prefixcap.interfaces.metric import Metric, Record, Scores
from prefixcap_metrics.ptb_tokenizer import by_image, tokens
from prefixcap_metrics.resampling.bleu import BleuStatistic
from prefixcap_metrics.resampling.cider import CiderStatistic

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prefixcap.evaluation.stats import Statistic


class BleuMetric(Metric, Resamplable):
    """BLEU 1 to 4, with the reference length that is closest."""

    def score(self, records: Sequence[Record]) -> Scores:
        """Scores all records together; raises as `tokens` does."""
        from pycocoevalcap.bleu.bleu import Bleu

        found = tokens(records)
        values, each = Bleu(4).compute_score(found.references, found.predictions, verbose=0)
        names = [f"Bleu_{n}" for n in range(1, 5)]
        return Scores(
            values={name: float(value) for name, value in zip(names, values, strict=True)},
            per_image={name: _floats(scores) for name, scores in zip(names, each, strict=True)},
        )

    def statistic(self, records: Sequence[Record]) -> Statistic:
        """Prepares BLEU for resampling; raises as `by_image` does."""
        return BleuStatistic(*by_image(records))


class RougeMetric(Metric):
    """ROUGE-L, the mean over images."""

    def score(self, records: Sequence[Record]) -> Scores:
        """Scores all records together; raises as `tokens` does."""
        from pycocoevalcap.rouge.rouge import Rouge

        found = tokens(records)
        value, each = Rouge().compute_score(found.references, found.predictions)
        return Scores(values={"ROUGE_L": float(value)}, per_image={"ROUGE_L": _floats(each)})


class CiderMetric(Metric, Resamplable):
    """CIDEr-D, the mean over images; document frequencies come from these very references."""

    def score(self, records: Sequence[Record]) -> Scores:
        """Scores all records together; raises as `tokens` does."""
        from pycocoevalcap.cider.cider import Cider

        found = tokens(records)
        value, each = Cider().compute_score(found.references, found.predictions)
        return Scores(values={"CIDEr": float(value)}, per_image={"CIDEr": _floats(each)})

    def statistic(self, records: Sequence[Record]) -> Statistic:
        """Prepares CIDEr-D for resampling; raises as `by_image` does."""
        return CiderStatistic(*by_image(records))


def _floats(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
