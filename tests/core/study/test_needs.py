"""Metrics that need more than texts, in a study where not all cells provide it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

import attrs
import pytest

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.decoder import DecoderConfig
from prefixcap.interfaces.metric import MetricConfig
from prefixcap.plugin.registry import default_registry
from prefixcap.study.definition.study import Study
from prefixcap.study.execution import checks, data
from prefixcap.study.execution.plan import plan
from prefixcap.study.execution.runner import run_study
from prefixcap.util.progress import ProgressTask, Reporter, Silent


class Listening(Reporter):
    def __init__(self) -> None:
        self.messages: list[str] = []

    def task(self, title: str, total: int, unit: str) -> AbstractContextManager[ProgressTask]:
        return Silent().task(title, total, unit)

    def message(self, text: str) -> None:
        self.messages.append(text)


def parsed(study: Study, decoders: list[str], metrics: list[str]) -> Study:
    registry = default_registry()
    return attrs.evolve(
        study,
        decoders=tuple(registry.parse(DecoderConfig, spec) for spec in decoders),
        metrics=tuple(registry.parse(MetricConfig, spec) for spec in metrics),
        labels={},
    )


def test_a_metric_is_skipped_for_cells_without_its_requirements(
    small: Study, tmp_path: Path
) -> None:
    study = parsed(
        small,
        ["greedy", "top-p:n=2"],
        ["length", "logprob", "finish", "repetition", "oracle:metric=length"],
    )
    listening = Listening()
    first = run_study(study, tmp_path / "s", listening)
    greedy, sampled = (row["scores"] for row in first.rows)
    assert greedy["Logprob"] < 0 < greedy["Tokens"]
    assert {"Length_oracle", "Length_average"} <= sampled.keys()
    assert sampled["Length_oracle"] >= sampled["Length_average"]
    assert "Length_oracle" not in greedy
    for row in first.baselines:
        assert "Rep_2" in row["scores"]
        assert not {"Logprob", "Tokens", "Length_oracle"} & row["scores"].keys()
    messages = [line for line in listening.messages if "skipped" in line]
    expected_message = [line for line in messages if "skipped the baseline" not in line]
    assert any(
        line.startswith("skipped oracle:metric=length for ")
        and "and similar captions: it needs at least two captions per image" in line
        for line in expected_message
    )
    assert len(expected_message) == len(set(expected_message)) == 3
    # what was skipped is known, and is not tried again
    assert not any(plan(study, tmp_path / "s")["missing"].values())
    assert run_study(study, tmp_path / "s").work["scored_metrics"] == 0
    # another metric costs its own scoring alone: two cells and five baselines
    more = attrs.evolve(
        study, metrics=(*study.metrics, default_registry().parse(MetricConfig, "distinct"))
    )
    work = run_study(more, tmp_path / "s").work
    assert (work["trained_models"], work["decoded_images"], work["scored_metrics"]) == (0, 0, 7)


def test_metrics_of_decoder_outputs_can_be_tried_out(small: Study) -> None:
    specs = ["logprob", "finish", "oracle:metric=length"]
    checks.try_out(parsed(small, ["greedy"], specs).metrics, data.load(small).test[:2])


def test_features_without_a_text_tower_are_an_error(small: Study, tmp_path: Path) -> None:
    for decoder, metric in (("greedy", "clipscore"), ("best-of:by=clip", "length")):
        with pytest.raises(PrefixcapError, match="'precomputed' has no text tower"):
            run_study(parsed(small, [decoder], [metric]), tmp_path / "s")
    with pytest.raises(PrefixcapError, match="width 7 and the texts of 'scenes-clip' 256"):
        run_study(parsed(small, ["greedy"], ["clipscore:text=scenes-clip"]), tmp_path / "s")
    # the images are there, so a CLIP can look at them itself
    result = run_study(parsed(small, ["greedy"], ["clipscore:encoder=scenes-clip"]), tmp_path / "s")
    assert 0 <= result.rows[0]["scores"]["CLIPScore[scenes-clip]"] <= 2.5
    assert "RefCLIPScore[scenes-clip]" in result.baselines[0]["scores"]
