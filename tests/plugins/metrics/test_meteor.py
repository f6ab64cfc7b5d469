from __future__ import annotations

import gc
import os
from pathlib import Path

import numpy as np
import prefixcap_metrics.configs as metrics
import pytest
from golden_files import golden, read
from prefixcap_metrics.meteor import MeteorMetric, MeteorProcess

from prefixcap.errors import PrefixcapError
from prefixcap.evaluation.stats import Resamplable
from prefixcap.interfaces.metric import Metric, Record


@pytest.fixture(scope="module")
def meteor() -> Metric:
    return metrics.Meteor().build()


def test_scores_equal_the_published_code(meteor: Metric, shared: Path) -> None:
    records = read(shared, "fakecap_val2014")
    scores = meteor.score(records)
    expected = golden(shared, "fakecap_val2014")["METEOR"]
    assert scores.values["METEOR"] == pytest.approx(expected, abs=1e-6)
    assert len(scores.per_image["METEOR"]) == len(records)
    assert isinstance(meteor, Resamplable)
    statistic = meteor.statistic(records)
    each = statistic.resampled(np.eye(len(records), dtype=np.int64))
    assert each[:, 0] == pytest.approx(scores.per_image["METEOR"], abs=1e-9)
    whole = statistic.resampled(np.ones((1, len(records)), dtype=np.int64))
    assert whole[0, 0] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("perfect", range(5))
def test_resampling_counts_perfect_captions_as_the_published_code_does(
    meteor: Metric, perfect: int
) -> None:
    references = ("a dog runs on the grass", "two cats sleep", "a red car", "a man on a bench")
    records = [
        Record(
            image=text,
            references=(text, "something else"),
            prediction=text if number < perfect else "a cat on the red grass sleeps",
        )
        for number, text in enumerate(references)
    ]
    assert isinstance(meteor, Resamplable)
    result = meteor.statistic(records).resampled(np.ones((1, len(records)), dtype=np.int64))
    assert result[0, 0] == pytest.approx(meteor.score(records).values["METEOR"], abs=1e-8)


def test_odd_texts_keep_their_order(meteor: Metric) -> None:
    texts = ("", "a dog runs", "a ||| b", "x\ny", "日本", "\ud800", "a dog runs")
    records = [
        Record(image=f"{i}", references=("A dog runs!", "|||", "?"), prediction=text)
        for i, text in enumerate(texts)
    ]
    scores = meteor.score(records).per_image["METEOR"]
    assert len(scores) == len(texts)
    assert [i for i, score in enumerate(scores) if score > 0.9] == [1, 6]
    assert scores[0] == 0


def test_the_process_ends_with_the_object() -> None:
    process = MeteorProcess()
    system = process._process
    assert process.alive
    del process
    gc.collect()
    assert system.returncode is not None  # it was waited for: no zombie


def test_a_process_that_dies_is_an_error() -> None:
    process = MeteorProcess()
    process._process.kill()
    with pytest.raises(PrefixcapError, match="METEOR's Java process ended early"):
        process.statistics([("a dog", ["a dog"])])
    assert not process.alive


def test_a_process_that_hangs_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prefixcap_metrics.meteor.TIMEOUT", 0.05)
    process = MeteorProcess()
    with pytest.raises(PrefixcapError, match=r"METEOR's Java process gave no answer for 0 s"):
        process.statistics([("a dog", ["a dog"])])
    assert not process.alive


def test_an_idle_process_ends(meteor: Metric, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prefixcap_metrics.meteor.IDLE_TIMEOUT", 0.01)
    assert metrics.Meteor().build() is meteor
    record = Record(image="a", references=("a dog",), prediction="a dog")
    assert meteor.score([record]).values["METEOR"] > 0.9
    assert isinstance(meteor, MeteorMetric)
    timer = meteor._timer
    timer.join(timeout=60)
    gc.collect()
    assert meteor._process is None


def test_a_fork_that_ends_does_not_stop_the_process() -> None:
    process = MeteorProcess()
    child = os.fork()
    if not child:
        process.close()
        os._exit(0)
    os.waitpid(child, 0)
    assert process.alive
    process.close()
    assert not process.alive
