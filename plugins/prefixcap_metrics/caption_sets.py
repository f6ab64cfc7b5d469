"""Measures of several captions an image: how they differ, their best, their average."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.metric import Metric, Record, Scores
from prefixcap_metrics.ptb_tokenizer import tokenise
from prefixcap_metrics.word_statistics import grams, words


class DiversityMetric(Metric):
    """How much the captions of an image differ.

    `Div_n` is the number of different n-grams over the number of words of an image's captions, as
    in its papers (so `Div_2` is below 1 even where no bigram comes twice), `Unique_captions` the
    share of different captions, `Self_BLEU_m` the BLEU of each caption against the others of its
    image; these are means over images. `mBLEU_m` is the BLEU of all images' i-th captions against
    the others, the mean over i.

    Args:
        max_n: the longest n-grams of `Div_n`.
        order: m, the longest n-grams of the BLEUs.
    """

    def __init__(self, max_n: int, order: int) -> None:
        self._max_n = max_n
        self._order = order

    def score(self, records: Sequence[Record]) -> Scores:
        """Compares every image's captions.

        Raises:
            PrefixcapError: as `tokenise`.
        """
        sets = [[tuple(words(text)) for text in record.captions] for record in records]
        per_image = {
            f"Div_{n}": tuple(_a_word(captions, n) for captions in sets)
            for n in range(1, self._max_n + 1)
        }
        per_image["Unique_captions"] = tuple(len(set(texts)) / len(texts) for texts in sets)
        each, corpus = self._bleu(records)
        per_image[f"Self_BLEU_{self._order}"] = each
        values = {name: fmean(found) for name, found in per_image.items()}
        return Scores(values={**values, f"mBLEU_{self._order}": corpus}, per_image=per_image)

    def _bleu(self, records: Sequence[Record]) -> tuple[tuple[float, ...], float]:
        from pycocoevalcap.bleu.bleu import Bleu

        texts = iter(tokenise(tuple(text for r in records for text in r.captions)))
        sets = [[next(texts) for _ in record.captions] for record in records]
        found: list[list[float]] = [[] for _ in sets]
        corpora = []
        for i in range(max(map(len, sets))):
            left = {row: captions for row, captions in enumerate(sets) if i < len(captions)}
            predictions = {row: [captions[i]] for row, captions in left.items()}
            others = {row: [*c[:i], *c[i + 1 :]] for row, c in left.items()}
            values, each = Bleu(self._order).compute_score(others, predictions, verbose=0)
            corpora.append(float(values[-1]))
            for row, value in zip(left, each[-1], strict=True):
                found[row].append(float(value))
        return tuple(map(fmean, found)), fmean(corpora)


def _a_word(captions: Sequence[tuple[str, ...]], n: int) -> float:
    """Returns the number of different n-grams over that of words; 0 where there are none."""
    count = sum(map(len, captions))
    different = {gram for caption in captions for gram in grams(caption, n)}
    return len(different) / count if count else 0.0


class OracleMetric(Metric):
    """The best and the average of an image's captions, by other metrics.

    `X_oracle` is the score X of the captions that have the highest X of their images; `X_average`
    is the mean of the score X of all images' first captions, second captions and so on. Where an
    image has fewer captions than others, they are gone through again.

    Args:
        metrics: the other metrics with their names.
    """

    def __init__(self, metrics: Sequence[tuple[str, Metric]]) -> None:
        self._metrics = metrics

    def score(self, records: Sequence[Record]) -> Scores:
        """Scores every caption of every image.

        Raises:
            PrefixcapError: a metric gives no scores of images, or raises.
        """
        values: dict[str, float] = {}
        per_image: dict[str, tuple[float, ...]] = {}
        most = max(len(record.captions) for record in records)
        ranks = [[_at(record, i) for record in records] for i in range(most)]
        for name, metric in self._metrics:
            scores = [metric.score(rank) for rank in ranks]
            if not scores[0].per_image:
                raise PrefixcapError(
                    f"the metric {name!r} has no scores of single images, so there is no best "
                    "caption of an image"
                )
            for measure in scores[0].per_image:
                by_rank = [found.per_image[measure] for found in scores]
                columns = [*zip(*by_rank, strict=True)]
                chosen = [max(range(most), key=column.__getitem__) for column in columns]
                corpus = [found.values[measure] for found in scores]
                values[f"{measure}_oracle"] = self._best(
                    metric, measure, records, chosen, columns, corpus[0]
                )
                values[f"{measure}_average"] = fmean(corpus)
                per_image[f"{measure}_oracle"] = tuple(map(max, columns))
                per_image[f"{measure}_average"] = tuple(map(fmean, columns))
        return Scores(values=values, per_image=per_image)

    def _best(
        self,
        metric: Metric,
        measure: str,
        records: Sequence[Record],
        chosen: Sequence[int],
        columns: Sequence[Sequence[float]],
        first: float,
    ) -> float:
        # where a corpus has the mean of its images' score, there is nothing to score again
        if math.isclose(first, fmean(column[0] for column in columns), abs_tol=1e-9):
            return fmean(map(max, columns))
        picked = [_at(record, i) for record, i in zip(records, chosen, strict=True)]
        return metric.score(picked).values[measure]


def _at(record: Record, rank: int) -> Record:
    return record.predicting(rank % len(record.captions))
