"""Metrics of several captions per image: diversity, best score and average score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from typing_extensions import override

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.metric import Metric, Record, Scores
from prefixcap.util.words import characters, ngrams, words
from prefixcap_metrics.names import CHARACTERS, WORDS, labelled
from prefixcap_metrics.ptb_tokenizer import by_characters, tokenise


class DiversityMetric(Metric):
    """Diversity of the captions of one image.

    Means over images of `Div_n`, the number of distinct n-grams divided by the number of words of
    an image's captions (`Div_2` is thus below 1 even without repetition), `Unique_captions`, the
    share of distinct captions, and `Self_BLEU_m`, the BLEU of each caption against the others of
    its image. `mBLEU_m` is the corpus BLEU of all images' i-th captions against the others,
    averaged over i.

    Args:
        max_n: Length of the longest n-grams of `Div_n`.
        order: m, the length of the longest n-grams of the BLEUs.
        tokenizer: "words" (the BLEUs have those of the Penn Treebank), or "characters".
    """

    def __init__(self, max_n: int, order: int, tokenizer: str = WORDS) -> None:
        self._max_n = max_n
        self._order = order
        self._tokenizer = tokenizer

    @override
    def score(self, records: Sequence[Record]) -> Scores:
        split = characters if self._tokenizer == CHARACTERS else words
        sets = [[tuple(split(text)) for text in record.captions] for record in records]
        per_image = {
            f"Div_{n}": tuple(_distinct_per_word(captions, n) for captions in sets)
            for n in range(1, self._max_n + 1)
        }
        per_image["Unique_captions"] = tuple(len(set(texts)) / len(texts) for texts in sets)
        self_bleu, mbleu = self._bleu(records)
        per_image[f"Self_BLEU_{self._order}"] = self_bleu
        values = {name: fmean(scores) for name, scores in per_image.items()}
        scores = Scores(values={**values, f"mBLEU_{self._order}": mbleu}, per_image=per_image)
        return labelled(scores, self._tokenizer)

    def _bleu(self, records: Sequence[Record]) -> tuple[tuple[float, ...], float]:
        from pycocoevalcap.bleu.bleu import Bleu

        split = by_characters if self._tokenizer == CHARACTERS else tokenise
        texts = iter(split(tuple(text for r in records for text in r.captions)))
        sets = [[next(texts) for _ in record.captions] for record in records]
        scores: list[list[float]] = [[] for _ in sets]
        corpora = []
        for i in range(max(map(len, sets))):
            rows = {row: captions for row, captions in enumerate(sets) if i < len(captions)}
            predictions = {row: [captions[i]] for row, captions in rows.items()}
            others = {row: [*c[:i], *c[i + 1 :]] for row, c in rows.items()}
            corpus, per_image = Bleu(self._order).compute_score(others, predictions, verbose=0)
            corpora.append(float(corpus[-1]))
            for row, value in zip(rows, per_image[-1], strict=True):
                scores[row].append(float(value))
        return tuple(map(fmean, scores)), fmean(corpora)


def _distinct_per_word(captions: Sequence[tuple[str, ...]], n: int) -> float:
    count = sum(map(len, captions))
    distinct = {gram for caption in captions for gram in ngrams(caption, n)}
    return len(distinct) / count if count else 0.0


class OracleMetric(Metric):
    """Best and average score of an image's captions by other metrics.

    `X_oracle` is the score X of the captions with the highest X of their image. `X_average` is
    the mean of the scores X of all first captions, all second captions and so on. Images with
    fewer captions than others reuse theirs in turn.

    Args:
        metrics: The other metrics with their names.
    """

    def __init__(self, metrics: Sequence[tuple[str, Metric]]) -> None:
        self._metrics = metrics

    @override
    def score(self, records: Sequence[Record]) -> Scores:
        values: dict[str, float] = {}
        per_image: dict[str, tuple[float, ...]] = {}
        max_captions = max(len(record.captions) for record in records)
        ranks = [[_at_rank(record, i) for record in records] for i in range(max_captions)]
        for name, metric in self._metrics:
            scores = [metric.score(rank) for rank in ranks]
            if not scores[0].per_image:
                raise PrefixcapError(
                    f"the metric {name!r} has no per-image scores, so there is no best caption "
                    "of an image"
                )
            for measure in scores[0].per_image:
                # one tuple per image, with a score of each caption
                columns = [*zip(*(rank.per_image[measure] for rank in scores), strict=True)]
                corpus = [rank.values[measure] for rank in scores]
                values[f"{measure}_oracle"] = _oracle(metric, measure, records, columns, corpus[0])
                values[f"{measure}_average"] = fmean(corpus)
                per_image[f"{measure}_oracle"] = tuple(map(max, columns))
                per_image[f"{measure}_average"] = tuple(map(fmean, columns))
        return Scores(values=values, per_image=per_image)


def _oracle(
    metric: Metric,
    measure: str,
    records: Sequence[Record],
    columns: Sequence[Sequence[float]],
    first: float,
) -> float:
    # if the corpus score is the mean over images, nothing needs to be scored again
    if math.isclose(first, fmean(column[0] for column in columns), abs_tol=1e-9):
        return fmean(map(max, columns))
    best = [
        _at_rank(record, max(range(len(column)), key=column.__getitem__))
        for record, column in zip(records, columns, strict=True)
    ]
    return metric.score(best).values[measure]


def _at_rank(record: Record, rank: int) -> Record:
    return record.predicting(rank % len(record.captions))
