"""A study is read back from its folder, finished or not."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import attrs
import pytest
from cli_world import World

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.metric import MetricConfig
from prefixcap.interfaces.tuning import TuningConfig
from prefixcap.plugin.registry import default_registry
from prefixcap.report.rows import curves
from prefixcap.study.analysis.analyze import analyze
from prefixcap.study.analysis.reader import SavedStudy, load_study
from prefixcap.study.analysis.results import Results
from prefixcap.study.artifacts import scores as scoring
from prefixcap.study.artifacts.folder import StudyJob
from prefixcap.study.artifacts.shard_rows import ShardRows
from prefixcap.study.definition.study import Study
from prefixcap.study.execution import baselines
from prefixcap.study.execution.prune import of_study
from prefixcap.study.execution.runner import Runner, run_study
from prefixcap.util.files import read_json, write_json


@pytest.fixture(scope="module")
def folder(small: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("finished") / "study"


@pytest.fixture(scope="module")
def results(small: Study, folder: Path) -> Results:
    return run_study(small, folder)


def saved(file: Path) -> dict[str, Any]:
    return read_json(file) or {}


def test_features_that_are_read_in_parts_have_the_same_captions(
    small: Study, results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prefixcap.captioning.feature_rows.PART", 6 * 4 * 8)  # six images
    read: list[int] = []
    rows = ShardRows.read

    def counted(self: ShardRows, numbers: list[int]) -> Any:
        read.append(len(numbers))
        return rows(self, numbers)

    shutil.copytree(results.folder, tmp_path / "study")
    shutil.rmtree(tmp_path / "study" / "cells")
    monkeypatch.setattr(ShardRows, "read", counted)
    again = run_study(small, tmp_path / "study")
    texts = [
        {cell: [line["captions"][0]["text"] for line in lines] for cell, lines in each.items()}
        for each in (results.captions, again.captions)
    ]
    assert texts[0] == texts[1]
    assert read.count(6) >= len(texts[1]) > 1


def test_everything_is_read_back(results: Results, world: World) -> None:
    result = load_study(results.folder)
    assert result.complete
    assert result.rows == results.rows
    assert result.baselines == results.baselines
    assert [image.id for image in result.images] == [f"test-{i}.png" for i in range(8)]
    assert [image.references for image in result.images] == [e.references for e in results.test]
    assert str(world.data.resolve()) not in (results.folder / "test.jsonl").read_text()
    for row in result.rows:
        cell = result.cells[row["cell"]]
        assert cell.lines == results.captions[row["cell"]]
        assert len(cell.per_image["Length"]) == 8
        assert sum(cell.per_image["Length"]) / 8 == pytest.approx(row["scores"]["Length"])
    constant = result.cells[result.baselines[0]["cell"]]
    assert constant.baseline
    assert len(set(constant.texts)) == 1
    (history,) = result.histories.values()
    assert len(history["train_loss"]) == 1
    assert result.config["versions"]["decoder greedy"] == "1"
    assert result.config["data_digest"]


def test_pictures_come_from_the_data_set(results: Results, tmp_path: Path) -> None:
    result = load_study(results.folder)
    picture = result.picture("test-0.png")
    assert picture is not None
    assert picture.size == (40, 40)
    copy = tmp_path / "copy"
    shutil.copytree(results.folder, copy)
    again = load_study(copy).picture("test-0.png")
    assert again is not None
    assert again.convert("RGB").tobytes() == picture.convert("RGB").tobytes()
    config = saved(copy / "config.json")
    config["dataset"]["path"] = "nowhere"
    write_json(copy / "config.json", config)
    assert load_study(copy).picture("test-0.png") is None


def test_a_model_that_captioned_can_then_be_tuned(small: Study, tmp_path: Path) -> None:
    tunings = tuple(default_registry().parse(TuningConfig, name) for name in ("frozen", "full"))
    study = attrs.evolve(small, tunings=tunings, seeds=(0, 1), baselines=False, labels={})
    result = run_study(study, tmp_path)
    assert result.work["trained_models"] == 4
    assert [row["tuning"] for row in result.rows] == [*["frozen"] * 4, *["full"] * 4]


def killed_after_one_cell(
    study: Study, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> SavedStudy:
    score = scoring.score_cell
    calls = []

    def dying(job: StudyJob, place: Path, *arguments: Any) -> scoring.CellScores:
        calls.append(place.parent.name)
        if calls.count("cells") > 1:
            raise KeyboardInterrupt
        return score(job, place, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(scoring, "score_cell", dying)
        with pytest.raises(KeyboardInterrupt):
            run_study(study, folder)
    return load_study(folder)


def test_scores_by_other_references_are_replaced(
    small: Study, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, folder = tmp_path / "data", tmp_path / "study"
    shutil.copytree(world.data, data)
    study = attrs.evolve(small, dataset=attrs.evolve(small.dataset, path=str(data)), labels={})
    assert len(run_study(study, folder).rows) == len(load_study(folder).rows) == 2
    captions = data / "captions.jsonl"
    captions.write_text(captions.read_text().replace("There is", "Here is"))
    result = killed_after_one_cell(study, folder, monkeypatch)
    assert not result.complete
    assert [row["decoder"] for row in result.rows] == ["greedy"]


def test_a_deleted_cell_and_a_missing_metric(small: Study, tmp_path: Path) -> None:
    run_study(small, tmp_path)
    config = saved(tmp_path / "config.json")
    config["metrics"].append({"name": "distinct"})  # as where it failed at the first cell
    write_json(tmp_path / "config.json", config)
    assert all("Distinct_1" not in entry.scores for entry in analyze(load_study(tmp_path)).entries)
    result = load_study(tmp_path)
    cell = result.cells[result.rows[1]["cell"]]
    (cell.folder / "captions.jsonl").unlink()
    with pytest.raises(PrefixcapError, match=r"\(it no longer exists\): run `prefixcap bench`"):
        _ = cell.texts


def test_an_unfinished_study_gives_its_finished_cells(
    small: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    consensus, made = baselines.consensus, list[int]()

    def counted(*arguments: Any) -> list[dict[str, Any]]:
        made.append(1)
        return consensus(*arguments)

    monkeypatch.setattr(baselines, "consensus", counted)
    result = killed_after_one_cell(small, tmp_path, monkeypatch)
    assert not result.complete
    assert [row["decoder"] for row in result.rows] == ["greedy"]
    assert len(result.cells[result.rows[0]["cell"]].texts) == len(result.images) == 8
    # what a table is read against is there from the beginning
    names = ["constant caption", "random training caption", "nearest training image"]
    assert [row["name"] for row in result.baselines][:3] == names
    run_study(small, tmp_path)
    assert load_study(tmp_path).complete
    assert made == [1]  # what takes long is stored


def test_a_study_is_complete_when_the_last_requested_grid_is(
    small: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_study(small, tmp_path)
    assert load_study(tmp_path).complete
    metrics = (*small.metrics, default_registry().parse(MetricConfig, "distinct"))
    more = attrs.evolve(small, metrics=metrics)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Runner, "_encode", killed)
        with pytest.raises(KeyboardInterrupt):
            run_study(more, tmp_path)
    assert not load_study(tmp_path).complete
    run_study(more, tmp_path)
    assert load_study(tmp_path).complete


def test_a_report_shows_the_saved_epoch(results: Results) -> None:
    result = load_study(results.folder)
    history = {"train_loss": [3.0, 2.0, 1.0], "val_loss": [3.0, 2.0, 4.0], "best_epoch": 2}
    vars(result)["histories"] = dict.fromkeys((row["model"] for row in result.rows), history)
    assert {curve.best for curve in curves(result)[0]} == {2}


def test_a_folder_without_a_study_gets_a_sentence(results: Results, tmp_path: Path) -> None:
    with pytest.raises(PrefixcapError, match="nowhere: there is no such folder"):
        load_study(tmp_path / "nowhere")
    with pytest.raises(PrefixcapError, match=r"holds no study: it has no config\.json"):
        load_study(tmp_path)
    with pytest.raises(PrefixcapError, match="holds a single model, not a study"):
        load_study(results.folder / results.rows[0]["model"])
    config = saved(results.folder / "config.json")
    write_json(tmp_path / "config.json", config)
    with pytest.raises(PrefixcapError, match="no cell of this study is finished: run `prefixcap"):
        load_study(tmp_path)
    write_json(tmp_path / "config.json", config | {"format": 9})
    with pytest.raises(PrefixcapError, match="a study of format 9, and this version"):
        load_study(tmp_path)


@pytest.mark.parametrize(
    ("group", "change"),
    [
        ("rows", {"cell": "../elsewhere"}),
        ("rows", {"cell": "/etc"}),
        ("rows", {"cell": "a/../../b"}),
        ("rows", {"cell": "..\\elsewhere"}),
        ("rows", {"cell": "C:elsewhere"}),
        ("rows", {"cell": ".."}),
        ("rows", {"cell": ""}),
        ("rows", {"cell": None}),
        ("rows", {"model": "models/../../elsewhere"}),
        ("rows", {"model": "/etc/models"}),
        ("rows", {"model": "models"}),
        ("baselines", {"cell": "../cells/x"}),
    ],
    ids=str,
)
def test_results_name_nothing_outside_the_folder(
    results: Results, tmp_path: Path, group: str, change: dict[str, Any]
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(results.folder, copy)
    data = saved(copy / "scores.json")
    data[group][0] |= change
    write_json(copy / "scores.json", data)
    for read in (load_study, of_study):
        with pytest.raises(PrefixcapError, match=r"scores\.json.* is (not in the study's|None)"):
            read(copy)
