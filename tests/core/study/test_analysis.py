"""The analysis of a study: pooled rows, intervals, comparisons, tables."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paired_tests import paired_bootstrap
from prefixcap_metrics.configs import Cider

from prefixcap.cli.table import fitting
from prefixcap.errors import PrefixcapError, PrefixcapWarning
from prefixcap.evaluation.stats import (
    Mean,
    Replicates,
    bootstrap_interval,
    holm,
    replicate,
)
from prefixcap.interfaces.metric import Metric, MetricConfig, Scale
from prefixcap.study.analysis import score_pairs
from prefixcap.study.analysis.analysis import Analysis
from prefixcap.study.analysis.analyze import analyze, compute, replicates, scales
from prefixcap.study.analysis.reader import load_study
from prefixcap.study.analysis.tables import (
    decimals_for,
    legend,
    markdown,
    page,
    score_text,
    table,
)
from prefixcap.study.definition.study import Study
from prefixcap.study.execution.runner import run_study
from prefixcap.util.files import read_json

IMAGES = 40
SCALES = {"CIDEr": Cider().scales["CIDEr"]}


def row(cell: str, score: float, **more: object) -> dict[str, Any]:
    return {
        "mapper": "mlp",
        "prefix_length": 10,
        "decoder": "beam",
        "scores": {"CIDEr": score, "Vocabulary": 120.0},
        "intervals": {"CIDEr": [score - 0.1, score + 0.1]},
        "captions_per_second": 12.345,
        "trained_parameters": 31_000_000,
        "seed": 0,
        "tuning": "frozen",
        "train_on": "images",
        "bridge": "none",
        "encoder": "clip",
        "prompt": "none",
        "lm": "hf",
        "cell": cell,
        **more,
    }


def drawn(values: np.ndarray) -> Replicates:
    return replicate(Mean({"CIDEr": [float(v) for v in values]}, range(IMAGES)), resamples=300)


def made(seeds: int = 1) -> tuple[list[dict[str, Any]], list[dict[str, Any]], Any]:
    """Two decoders, of which beam is much better, and a baseline that is much worse."""
    rng = np.random.default_rng(0)
    images = rng.normal(1, 0.3, IMAGES)
    rows, cells = [], {}
    for decoder, shift in (("greedy", 0.0), ("beam", 0.4), ("beam:num_beams=4", 0.395)):
        for seed in range(seeds):
            name = f"{decoder}-{seed}"
            values = images + shift + rng.normal(0, 0.1, IMAGES) + 0.01 * rng.normal()
            cells[name] = drawn(values)
            rows.append(row(name, float(values.mean()), decoder=decoder, seed=seed))
    cells["none"] = drawn(rng.normal(0.2, 0.3, IMAGES))
    score = float(cells["none"].observed[0, 0])
    return rows, [{"name": "constant", "cell": "none", "scores": {"CIDEr": score}}], cells


def test_without_seeds_the_numbers_are_those_of_the_library() -> None:
    rows, baselines, cells = made()
    result = compute(rows, baselines, cells, scales=SCALES)
    assert [entry.label for entry in result.entries] == [
        *("mlp P=10 greedy", "mlp P=10 beam", "mlp P=10 beam:num_beams=4", "(constant)")
    ]
    for entry in result.entries:
        estimate = bootstrap_interval(cells[entry.cells[0]])["CIDEr"]
        assert entry.intervals["CIDEr"] == pytest.approx(estimate.bounds)
        assert entry.estimate("CIDEr").bounds == entry.intervals["CIDEr"]
    names = [entry.cells[0] for entry in result.entries]
    p = []
    for i, one in enumerate(names):
        for j, two in enumerate(names):
            if i < j:
                expected = paired_bootstrap(cells[one], cells[two])[0]
                there = result.difference(i, j, "CIDEr", "holm")
                back = result.difference(j, i, "CIDEr", "holm")
                assert there.value == pytest.approx(expected.value, rel=1e-5)
                assert there.low == pytest.approx(expected.low, rel=1e-5)
                assert (back.value, back.low, back.high) == (-there.value, -there.high, -there.low)
                assert there.p == back.p == pytest.approx(expected.p, rel=1e-5)
                p.append(expected.p)
    kept = [each.adjusted for each in result.differences("CIDEr", "holm", "0123").values()]
    assert kept == pytest.approx(holm(p), rel=1e-5)


def test_marks_show_what_is_worse_and_what_is_not_significant() -> None:
    result = compute(*made(), scales=SCALES)
    assert result.main == "CIDEr"
    marks = [result.mark(n, "CIDEr", "holm") for n in range(4)]
    assert marks == ["worse", "best", "n.s.", "worse"]
    rows, _, cells = made()
    better = [{"name": "constant", "cell": "beam-0", "scores": rows[1]["scores"]}]
    result = compute(rows[:1], better, cells, scales=SCALES)
    assert [result.mark(n, "CIDEr", "benjamini-hochberg") for n in range(2)] == ["best", "better"]


class WordErrors(MetricConfig):
    """A metric of a plugin."""

    name = "wer"
    scales: ClassVar[Mapping[str, Scale]] = {
        "WER": Scale(better="lower", low=0.0, main_rank=5, headline=True)
    }

    def build(self) -> Metric:
        raise NotImplementedError


def test_a_plugins_score_can_be_the_main_one_and_lower_can_be_better() -> None:
    rows, baselines, cells = made()
    for each in (*rows, *baselines):
        each["scores"] = {"CIDEr": 1.0, "WER": each["scores"]["CIDEr"]}
        cells[each["cell"]] = attrs.evolve(cells[each["cell"]], names=("WER",))
    read = scales([Cider(), WordErrors()], [*rows, *baselines])
    result = compute(rows, baselines, cells, scales=read)
    assert result.main == "WER"
    assert result.best("WER") == 0
    assert [result.mark(n, "WER", "holm") for n in range(4)] == ["best", "worse", "worse", "better"]
    low, _ = (
        compute([{**rows[0], "cell": "none"}], [], cells, scales=read).entries[0].intervals["WER"]
    )
    assert low >= 0
    text, _ = fitting(result, rows, "holm", 70)
    assert "| WER" in text


def test_seeds_are_one_row_and_widen_its_interval() -> None:
    rows, baselines, cells = made(seeds=3)
    result = compute(rows, baselines, cells, scales=SCALES)
    assert [len(entry.seeds) for entry in result.entries] == [3, 3, 3, 0]
    beam = result.entries[1]
    values = [r["scores"]["CIDEr"] for r in rows if r["decoder"] == "beam"]
    assert beam.scores["CIDEr"] == pytest.approx(np.mean(values))
    assert beam.seed_std["CIDEr"] == pytest.approx(np.std(values, ddof=1))
    low, high = beam.intervals["CIDEr"]
    alone = bootstrap_interval(cells["beam-0"])["CIDEr"].bounds
    assert low < np.mean(values) < high
    assert high - low > 0.8 * (alone[1] - alone[0])
    columns = table(result, rows)
    assert [*columns] == [
        *("mapper", "P", "decoder", "seeds", "CIDEr", "vs best", "seeds' sd", "Vocabulary"),
        *("captions/s", "trained"),
    ]
    assert columns["seeds"][1] == "3"
    assert [column[3] for column in columns.values()][:4] == ["(constant)", "", "", ""]
    text = page(result, rows, "holm")
    assert "Single seeds, with intervals over images only:" in text
    assert text.count("| beam ") == 1 + 3
    assert "and other seeds" in legend(result, "holm")[0]


def test_a_score_that_some_cells_lack_is_compared_among_the_others() -> None:
    rows, baselines, cells = made()
    for name in ("greedy-0", "beam-0"):
        both = {
            "CIDEr": [1.0 * i for i in range(IMAGES)],
            "Logprob": [2.0 * i for i in range(IMAGES)],
        }
        cells[name] = replicate(Mean(both, range(IMAGES)), resamples=300)
    result = compute(rows, baselines, cells, scales=SCALES)
    assert result.scores == ("CIDEr", "Logprob")
    assert list(result.compared("CIDEr")) == [0, 1, 2, 3]
    assert list(result.compared("Logprob")) == [0, 1]
    assert set(result.entries[2].intervals) == {"CIDEr"}
    with pytest.raises(PrefixcapError, match=r"beam:num_beams=4 has no Logprob to compare"):
        result.difference(0, 2, "Logprob", "holm")
    with pytest.raises(PrefixcapError, match="no score 'CIDR' was compared; did you mean 'CIDEr'"):
        result.difference(0, 1, "CIDR", "holm")
    with pytest.raises(PrefixcapError, match="cannot be compared with itself"):
        result.difference(1, 1, "CIDEr", "holm")


def test_a_study_without_resampled_scores_has_a_table() -> None:
    rows, baselines, _ = made()
    result = compute(rows, baselines, {})
    assert result.scores == ()
    assert result.main is None
    assert legend(result, "holm") == []
    columns = table(result, rows)
    assert "vs best" not in columns
    assert columns["CIDEr"][0] == score_text(rows[0]["scores"]["CIDEr"])


def test_a_table_shows_what_varies_and_aligns() -> None:
    rows, baselines, cells = made()
    other = [{**each, "encoder": "dino", "cell": f"other {each['cell']}"} for each in rows]
    cells |= {each["cell"]: cells[each["cell"].split()[1]] for each in other}
    result = compute(rows + other, baselines, cells, scales=SCALES)
    columns = table(result, rows + other)
    assert [*columns][:4] == ["encoder", "mapper", "P", "decoder"]
    assert [column[4] for column in columns.values()][:4] == ["dino", "mlp", "10", "beam"]
    assert [column[0] for column in columns.values()][-3:] == ["120", "12.3", "31,000,000"]
    lengths = {len(line) for line in markdown(columns).splitlines()}
    assert len(lengths) == 1
    assert result.entries[4].label == "mlp P=10 beam encoder=dino"


@pytest.mark.parametrize("width", [50, 70, 200])
def test_a_table_fits_the_terminal_if_it_can(width: int) -> None:
    rows, baselines, cells = made()
    result = compute(rows, baselines, cells, scales=SCALES)
    text, whole = fitting(result, rows, "holm", width)
    wide = max(map(len, text.splitlines()))
    assert whole == (width == 200)
    assert wide <= width or "Vocabulary" not in text
    assert "CIDEr" in text


def test_a_long_table_has_its_best_rows_in_a_terminal() -> None:
    scores = [n % 97 / 10 for n in range(1000)]
    rows = [row(f"c{n}", score, decoder=f"d{n}") for n, score in enumerate(scores)]
    baselines = [{"name": "constant", "cell": "none", "scores": {"CIDEr": 0.1}}]
    result = compute(rows, baselines, {}, scales=SCALES)
    result = attrs.evolve(result, scores=("CIDEr",))
    text, _ = fitting(result, rows, "holm", 160)
    lines = text.splitlines()
    assert len(lines) == 2 + 40 + 1 + 1
    assert lines[-1] == "the 40 rows that are best by CIDEr, of 1,000; table.md has all"
    assert "(constant)" in lines[-2]
    assert all(float(line.split("|")[4].split()[0]) >= 9.3 for line in lines[2:-2])


@given(st.floats(1e-6, 1e3), st.floats(0, 1e3))
def test_a_number_is_written_with_half_its_interval(half: float, value: float) -> None:
    digits = decimals_for([half])
    text = score_text(value, (value - half, value + half), digits)
    written, _, after = text.partition(" ±")
    assert abs(float(written) - value) <= 0.51 * 10**-digits
    assert abs(float(after) - half) <= 0.51 * 10**-digits + 1e-9 * half
    assert 0 <= digits <= 4


def test_numbers_are_written_as_people_do() -> None:
    assert score_text(1.1449, (1.05, 1.24), decimals_for([0.095])) == "1.145 ±.095"
    assert score_text(7.663, (6.8, 8.5), decimals_for([0.85])) == "7.66 ±.85"
    assert score_text(120.0, (100.0, 140.0), decimals_for([20.0])) == "120 ±20"
    assert score_text(15.0, (15.0, 15.0), 1) == "15.0 ±0"
    assert score_text(120.0) == "120"
    assert score_text(0.51234) == "0.5123"
    assert score_text(None) == ""


def test_an_analysis_round_trips_through_json(tmp_path: Path) -> None:
    result = compute(*made(seeds=2), scales=SCALES)
    result.write(tmp_path)
    data = read_json(tmp_path / "analysis.json") or {}
    pairs = score_pairs.read(tmp_path / "pairs.safetensors", result.key)
    assert pairs is not None
    assert pairs["CIDEr"].entries == (0, 1, 2, 3)
    assert Analysis.from_json(data, pairs) == result
    assert score_pairs.read(tmp_path / "pairs.safetensors", "another") is None


def test_an_analysis_is_cached_until_the_study_changes(small: Study, tmp_path: Path) -> None:
    results = run_study(small, tmp_path)
    finished = load_study(tmp_path)
    kept = (tmp_path / "analysis.json").read_bytes()
    assert analyze(finished) == results.analysis
    assert (tmp_path / "analysis.json").read_bytes() == kept
    (tmp_path / "analysis.json").unlink()
    assert analyze(finished) == results.analysis
    assert (tmp_path / "analysis.json").read_bytes() == kept
    (tmp_path / "analysis.json").write_bytes(kept.replace(b'"Length"', b'"Width"'))
    with pytest.warns(PrefixcapWarning, match=r"analysis\.json was altered after it was written"):
        assert analyze(finished) == results.analysis
    assert (tmp_path / "analysis.json").read_bytes() == kept
    finished.rows[0]["scores"]["Length"] += 1
    assert analyze(finished).scores == ("Length",)
    # replicates that were deleted are computed again from the captions, and are the same
    before = replicates(finished)
    for cell in finished.cells.values():
        (cell.folder / "resampled.safetensors").unlink()
    again = replicates(load_study(tmp_path))
    assert all(np.array_equal(again[name].drawn, before[name].drawn) for name in before)
    row = results.rows[0]
    low, high = row["intervals"]["Length"]
    assert low <= row["scores"]["Length"] <= high


def test_a_study_that_can_only_be_read_is_analyzed(
    small: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = run_study(small, tmp_path)

    def read_only(_: int) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("os.fsync", read_only)
    (tmp_path / "analysis.json").unlink()
    for cell in load_study(tmp_path).cells.values():
        (cell.folder / "resampled.safetensors").unlink()
    assert analyze(load_study(tmp_path)) == results.analysis
    assert not (tmp_path / "analysis.json").exists()
