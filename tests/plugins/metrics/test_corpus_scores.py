from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_captions import corpus, mean_cider, published_bleu, published_cider, repeated
from numpy.typing import NDArray
from prefixcap_metrics.resampling.bleu import BleuStatistic
from prefixcap_metrics.resampling.cider import CiderStatistic
from typing_extensions import override

from prefixcap.errors import PrefixcapError
from prefixcap.evaluation.stats import Array, Mean, Statistic

captions = st.lists(st.sampled_from(["a", "b", "c", "dog", "é"]), max_size=7).map(" ".join)


@pytest.mark.parametrize("seed", range(3))
def test_resampled_scores_equal_the_published_code_s(seed: int) -> None:
    references, predictions = corpus(60, seed)
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(60, np.full(60, 1 / 60), size=8)
    weights[0] = 1
    cider = CiderStatistic(references, predictions).resampled(weights)
    bleu = BleuStatistic(references, predictions).resampled(weights)
    for row, drawn in enumerate(weights):
        written = repeated(references, drawn), repeated(predictions, drawn)
        assert cider[row, 0] == pytest.approx(published_cider(*written), abs=1e-9)
        assert bleu[row] == pytest.approx(published_bleu(*written), abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.lists(captions, min_size=1, max_size=3), captions, st.integers(0, 3)),
        min_size=1,
        max_size=5,
    )
)
def test_any_corpus_and_any_weights(images: list[tuple[list[str], str, int]]) -> None:
    references = {f"{i}": result for i, (result, _, _) in enumerate(images)}
    predictions = {f"{i}": [result] for i, (_, result, _) in enumerate(images)}
    weights = np.array([[weight for _, _, weight in images]])
    if not weights.sum() or not any(text for result in references.values() for text in result):
        return  # the published code has no score of nothing
    written = repeated(references, weights[0]), repeated(predictions, weights[0])
    bleu = BleuStatistic(references, predictions).resampled(weights)
    assert bleu[0] == pytest.approx(published_bleu(*written), abs=1e-9)
    if not any(text for result in written[0].values() for text in result):
        return
    cider = CiderStatistic(references, predictions).resampled(weights)
    assert cider[0, 0] == pytest.approx(published_cider(*written), abs=1e-9)


def test_sufficient_statistics_aggregate_into_the_corpus_score() -> None:
    references, predictions = corpus(40, 1)
    ones = np.ones((1, 40), dtype=np.int64)
    for statistic in (
        BleuStatistic(references, predictions),
        Mean({"x": [float(i) for i in range(40)]}, list(references)),
    ):
        sums = statistic.sufficient_statistics().sum(axis=0, keepdims=True)
        assert statistic.aggregate(sums) == pytest.approx(statistic.resampled(ones), abs=1e-12)


def test_corpus_cider_is_the_mean_of_the_published_scores_of_its_images() -> None:
    references, predictions = corpus(40, 1)
    ones = np.ones((1, 40), dtype=np.int64)
    expected = mean_cider(references, predictions).resampled(ones)
    result = CiderStatistic(references, predictions).resampled(ones)
    assert result == pytest.approx(expected, abs=1e-12)


def test_a_statistic_without_names_or_images_cannot_be_built() -> None:
    class Unnamed(Statistic):
        @override
        def resampled(self, weights: NDArray[np.int64]) -> Array:
            return np.zeros((len(weights), 1))

    with pytest.raises(TypeError, match="abstract class"):
        Unnamed()  # type: ignore[abstract]


def test_a_resample_s_score_does_not_depend_on_other_resamples() -> None:
    references, predictions = corpus(50, 2)
    weights = np.random.default_rng(0).multinomial(50, np.full(50, 0.02), size=70)
    statistic = CiderStatistic(references, predictions)
    together = statistic.resampled(weights)
    assert statistic.resampled(weights[40:41]) == pytest.approx(together[40:41], abs=1e-15)


def test_means_are_weighted() -> None:
    statistic = Mean({"x": [1.0, 2.0, 6.0], "y": [0.0, 1.0, 0.0]}, ["a", "b", "c"])
    assert statistic.resampled(np.array([[1, 1, 1], [0, 1, 3]])) == pytest.approx(
        np.array([[3, 1 / 3], [5, 1 / 4]])
    )


@pytest.mark.parametrize("statistic", [BleuStatistic, CiderStatistic])
def test_captions_that_do_not_fit_are_errors(
    statistic: type[BleuStatistic] | type[CiderStatistic],
) -> None:
    def sentence(references: dict[str, list[str]], predictions: dict[str, list[str]]) -> str:
        with pytest.raises(PrefixcapError) as caught:
            statistic(references, predictions)
        return str(caught.value)

    assert "'b' is in one only" in sentence({"a": ["x"], "b": ["x"]}, {"a": ["x"]})
    assert "their order differs" in sentence({"a": ["x"], "b": ["x"]}, {"b": ["x"], "a": ["x"]})
    assert "no images" in sentence({}, {})
    assert "'a' has 0 references and 1 predictions" in sentence({"a": []}, {"a": ["x"]})
    assert "'a' has 1 references and 2 predictions" in sentence({"a": ["x"]}, {"a": ["x", "y"]})


def test_means_that_do_not_fit_are_errors() -> None:
    with pytest.raises(PrefixcapError, match="x has 1 values for 2 images"):
        Mean({"x": [1.0]}, ["a", "b"])
    with pytest.raises(PrefixcapError, match="no images"):
        Mean({}, [])


def test_statistics_name_their_scores_and_images() -> None:
    references, predictions = corpus(3, 0)
    result: list[Statistic] = [
        BleuStatistic(references, predictions),
        CiderStatistic(references, predictions),
    ]
    assert [s.names for s in result] == [("Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4"), ("CIDEr",)]
    assert all(s.images == ("image 0", "image 1", "image 2") for s in result)
