from __future__ import annotations

import prefixcap_metrics.configs as metrics
import pytest

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.metric import MetricConfig, Record


def records(*predictions: str) -> list[Record]:
    return [Record(image=p, references=("x",), prediction=p) for p in predictions]


def test_length_counts_words_not_punctuation() -> None:
    scores = metrics.Length().build().score(records("A man's dog.", "", "A well-lit  room , - !"))
    assert scores.per_image["Length"] == (3, 0, 3)
    assert scores.values == {"Length": 2, "Length_std": pytest.approx(2**0.5)}


def test_distinct_by_hand() -> None:
    scores = (
        metrics.Distinct(max_n=3).build().score(records("A dog runs.", "a dog runs", "a dog sits"))
    )
    assert scores.values == {
        "Distinct_1": 4 / 9,
        "Distinct_2": 3 / 6,
        "Distinct_3": 2 / 3,
        "Vocabulary": 4,
        "Distinct_captions": 2 / 3,
    }


def test_distinct_of_short_captions_is_zero() -> None:
    scores = metrics.Distinct().build().score(records("dog", ""))
    assert scores.values["Distinct_1"] == 1
    assert scores.values["Distinct_2"] == 0


@pytest.mark.parametrize("config", [metrics.Length(), metrics.Distinct()])
def test_no_records_are_an_error(config: MetricConfig) -> None:
    with pytest.raises(PrefixcapError, match="no records"):
        config.build().score([])
