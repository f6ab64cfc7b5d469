"""Missing inputs of metrics are errors before training, and scoring is timed."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest

from prefixcap.errors import PrefixcapError
from prefixcap.evaluation.evaluate import score
from prefixcap.interfaces.metric import Metric, MetricConfig, Record, Scores
from prefixcap.plugin import specs
from prefixcap.plugin.registry import default_registry
from prefixcap.study.analysis.results import Results
from prefixcap.study.artifacts import scores as scores_module
from prefixcap.study.artifacts.folder import StudyFolder, StudyJob
from prefixcap.study.artifacts.keys import PlannedCell
from prefixcap.study.artifacts.locks import locked
from prefixcap.study.definition.study import Study
from prefixcap.study.execution import checks as checks_module
from prefixcap.study.execution import data, encoding
from prefixcap.study.execution.encoding import EncodedImages
from prefixcap.study.execution.scoring import Scorer
from prefixcap.util.files import read_lines
from prefixcap.util.progress import Silent


def by(study: Study, *metrics: str) -> Study:
    parsed = tuple(default_registry().parse(MetricConfig, spec) for spec in metrics)
    return attrs.evolve(study, metrics=parsed, labels={})


class Listening(Silent):
    def __init__(self) -> None:
        self.messages: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)


@attrs.frozen
class Encoded:
    """A study whose images are encoded, with nothing trained."""

    study: Study
    folder: Path
    results: Results
    images: EncodedImages
    reporter: Listening

    def scorer(self, *metrics: str) -> Scorer:
        study = by(self.study, *metrics)
        return Scorer(self.job(study), self.results)

    def job(self, study: Study) -> StudyJob:
        return StudyJob(study, self.folder, self.reporter)

    def lines(self) -> list[dict[str, Any]]:
        return [
            {"image": e.image.id, "captions": [{"text": e.references[0]}]} for e in self.images.test
        ]

    def timings(self) -> list[dict[str, Any]]:
        return read_lines(StudyFolder(self.folder).timings)

    def cell(self, name: str = "cell", key: str = "key") -> PlannedCell:
        study = self.study
        (model,) = study.models(study.encoders[0], study.lms[0])
        folder = self.folder / "cells" / name
        return PlannedCell(
            model=model,
            decoder=study.decoders[0],
            key=key,
            scores_key=key,
            folder=folder,
            model_folder=self.folder,
        )


@pytest.fixture
def encoded(small: Study, tmp_path: Path) -> Encoded:
    results, reporter = Results(folder=tmp_path), Listening()
    splits = data.load(small)
    (features,) = encoding.open_features(StudyJob(small, tmp_path, reporter), splits)
    images, unreadable = encoding.encode_images(features, splits)
    assert unreadable == []
    return Encoded(small, tmp_path, results, images, reporter)


@attrs.frozen(kw_only=True)
class Unmakeable(MetricConfig):
    name = "unmakeable"

    def build(self) -> Metric:
        raise PrefixcapError("its models are not there")


# ------------------------------------------------------------------- before anything is computed


def test_a_metric_that_cannot_be_built_is_an_error(small: Study) -> None:
    examples = data.load(small).test
    assert checks_module.check_metrics(small, examples) == []
    study = attrs.evolve(small, metrics=(*small.metrics, Unmakeable()))
    with pytest.raises(PrefixcapError, match="its models are not there"):
        checks_module.check_metrics(study, examples)


@pytest.mark.parametrize(
    ("metrics", "sentence"),
    [
        (
            ("repetition:max_n=2", "length", "repetition:max_n=4"),
            "'repetition:max_n=2' and 'repetition' both give the score 'Rep_2': leave one out",
        ),
        (
            ("oracle:metric=length", "oracle:metric=length+repetition"),
            "'oracle:metric=length' and .* both give the score 'Length_oracle'",
        ),
    ],
)
def test_two_metrics_with_one_score_are_an_error(
    small: Study, metrics: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(PrefixcapError, match=sentence):
        checks_module.check_metrics(by(small, *metrics), data.load(small).test)


def test_metrics_of_one_name_with_different_scores_are_accepted(small: Study) -> None:
    metrics = ("oracle:metric=length", "oracle:metric=repetition", "logprob")
    assert checks_module.check_metrics(by(small, *metrics), data.load(small).test) == []


def test_an_image_without_references_is_an_error(small: Study) -> None:
    one, *others = data.load(small).test
    with pytest.raises(PrefixcapError, match=r"'test-0\.png' has no reference captions"):
        checks_module.check_metrics(small, [attrs.evolve(one, references=()), *others])


def test_no_encoder_is_loaded(small: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    def loading(*_: object) -> None:
        raise AssertionError

    encoder = type(
        default_registry().parse(MetricConfig, "clipscore:encoder=scenes-clip").subcomponents()[0]
    )
    monkeypatch.setattr(encoder, "build", loading)
    study = by(small, "clipscore", "clipscore:encoder=scenes-clip", "oracle:metric=clipscore")
    assert checks_module.check_metrics(study, data.load(small).test) == []


# ----------------------------------------------------------------------- before anything is trained


def test_an_encoder_without_a_text_tower_is_an_error(encoded: Encoded) -> None:
    for metric in ("clipscore", "clipscore:prompt=", "oracle:metric=clipscore"):
        with pytest.raises(PrefixcapError, match="'precomputed' has no text tower"):
            encoded.scorer(metric).try_out(encoded.images, [encoded.cell()])
    with pytest.raises(PrefixcapError, match="width 7 and the texts of 'scenes-clip' 256"):
        encoded.scorer("clipscore:text=scenes-clip").try_out(encoded.images, [encoded.cell()])
    # the images are there, so a CLIP can look at them itself
    several = ("length", "clipscore:encoder=scenes-clip", "clipscore:encoder=scenes-clip,prompt=")
    encoded.scorer(*several).try_out(encoded.images, [encoded.cell()])


def test_scored_cells_are_not_tried_again(
    encoded: Encoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[list[str]] = []

    def trying(metrics: list[MetricConfig], *_: object) -> None:
        tried.append([specs.to_spec(metric) for metric in metrics])

    metric = "clipscore:encoder=scenes-clip"
    scorer = encoded.scorer(metric)
    cells = [encoded.cell(), encoded.cell("another")]
    scorer.score(cells[0].folder, "key", encoded.lines(), encoded.images, "these")
    monkeypatch.setattr(checks_module, "try_out", trying)
    scorer.try_out(encoded.images, cells[:1])
    scorer.try_out(encoded.images, cells)
    assert tried == [[], [metric]]


# ------------------------------------------------------------------------------- while it is scored


def test_scores_are_never_mixed(encoded: Encoded) -> None:
    scorer = encoded.scorer("distinct", "distinct:max_n=3")
    with pytest.raises(PrefixcapError, match="both give the score 'Distinct_1'"):
        scorer.score(encoded.cell().folder, "key", encoded.lines(), encoded.images, "these")


def test_few_references_are_a_warning_of_the_study(encoded: Encoded) -> None:
    first, *others = encoded.images.test
    encoded.images.test = [attrs.evolve(first, references=first.references[:1]), *others]
    (warning,) = checks_module.check_metrics(encoded.study, encoded.images.test)
    assert "1 of 8 images has fewer than 2, such as 'test-0.png' with 1" in warning
    scorer = encoded.scorer("length")
    for name in ("one", "two"):
        folder = encoded.cell(name).folder
        scorer.score(folder, "key", encoded.lines(), encoded.images, "these")
    assert encoded.results.warnings == encoded.reporter.messages == [warning]


def test_scoring_times_exclude_other_processes(
    encoded: Encoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = encoded.cell()
    metrics = ("length", "distinct", "repetition")
    scorer = encoded.scorer(*metrics)
    score_cell = scores_module.score_cell

    def late(*arguments: Any) -> scores_module.CellScores:
        job, *rest = arguments
        first = attrs.evolve(job.study, metrics=job.study.metrics[:1])
        # what another process has just scored
        score_cell(StudyJob(first, encoded.folder / "elsewhere"), *rest)
        return score_cell(job, *rest)

    monkeypatch.setattr(scores_module, "score_cell", late)
    scorer.score(cell.folder, "key", encoded.lines(), encoded.images, "these")
    scored = [line["what"] for line in encoded.timings() if line["work"] == "scoring"]
    assert scored == ["distinct", "repetition"]


def test_scoring_times_are_per_metric(encoded: Encoded, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]

    def slow(result: Sequence[Record], config: MetricConfig) -> Scores:
        clock[0] += 5.0
        return score(result, config)

    def waited(folder: Path) -> contextlib.AbstractContextManager[None]:
        clock[0] += 100.0
        return locked(folder)

    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    monkeypatch.setattr("prefixcap.study.artifacts.scores.score", slow)
    monkeypatch.setattr("prefixcap.study.artifacts.scores.locked", waited)
    result = scores_module.records(encoded.images.test, encoded.lines())
    job = encoded.job(by(encoded.study, "length", "distinct"))
    scores_module.score_cell(job, encoded.cell().folder, "key", result, "these")
    scored = [line["seconds"] for line in encoded.timings() if line["work"] == "scoring"]
    assert scored == [5.0, 5.0]
