from __future__ import annotations

from pathlib import Path

import prefixcap_metrics.configs as metrics
import pytest
from golden_files import golden, read

from prefixcap.interfaces.metric import MetricConfig, Record

NAMES = ("fakecap_val2014", "magic_coco")
CONFIGS = (metrics.Bleu(), metrics.Rouge(), metrics.Cider())


@pytest.mark.parametrize("name", NAMES)
def test_scores_equal_the_published_code(shared: Path, name: str) -> None:
    records, expected = read(shared, name), golden(shared, name)
    for config in CONFIGS:
        scores = config.build().score(records)
        for measure, value in scores.values.items():
            assert value == pytest.approx(expected[measure], abs=1e-6)
            assert len(scores.per_image[measure]) == len(records)


def test_rouge_and_cider_are_means_over_images() -> None:
    records = [
        Record(image=f"{i}", references=(f"a {a} on a mat", "a thing"), prediction=f"a {p} on")
        for i, (a, p) in enumerate([("dog", "dog"), ("cat", "bird"), ("red car", "red car")])
    ]
    for config in (metrics.Rouge(), metrics.Cider()):
        scores = config.build().score(records)
        ((name, value),) = scores.values.items()
        assert value == pytest.approx(sum(scores.per_image[name]) / 3)


@pytest.mark.parametrize("config", CONFIGS)
def test_empty_and_odd_predictions_are_scored(config: MetricConfig) -> None:
    odd = ("", "...", "a ||| b", "x\ny", "日本")
    records = [Record(image=p, references=("A dog.", "?"), prediction=p) for p in odd]
    scores = config.build().score(records)
    assert all(0 <= value < 1 for value in scores.values.values())


@pytest.mark.parametrize("config", CONFIGS)
def test_an_image_may_appear_in_two_records(config: MetricConfig) -> None:
    record = Record(image="same", references=("a dog runs",), prediction="a dog runs")
    other = Record(image="same", references=("a dog runs",), prediction="nothing")
    scores = config.build().score([record, other])
    assert all(len(result) == 2 and result[0] >= result[1] for result in scores.per_image.values())


def test_cider_of_a_long_caption_is_that_of_the_published_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pairs = [("dog", "dog on a mat"), ("cat", "bird"), ("red car", "a red car in the sun")]
    records = [
        Record(image=f"{i}", references=(f"a {a} on a mat", f"{a} there"), prediction=f"a {p}")
        for i, (a, p) in enumerate(pairs)
    ]
    expected = metrics.Cider().build().score(records)
    monkeypatch.setattr("prefixcap_metrics.overlap.LONG", 0)
    scores = metrics.Cider().build().score(records)
    assert scores.values["CIDEr"] == pytest.approx(expected.values["CIDEr"], abs=1e-9)
    assert scores.per_image["CIDEr"] == pytest.approx(expected.per_image["CIDEr"], abs=1e-9)
