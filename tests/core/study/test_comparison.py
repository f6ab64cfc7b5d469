"""Comparisons from Python: selections, differences and reprs."""

from __future__ import annotations

import pytest

from prefixcap.errors import PrefixcapError
from prefixcap.evaluation.stats import Difference, Estimate
from prefixcap.study.analysis.compare import compare
from prefixcap.study.analysis.reader import SavedStudy, load_study
from prefixcap.study.analysis.rows import FIELDS, TableRow, match_rows
from prefixcap.study.definition.study import Study
from prefixcap.study.execution.runner import run_study


@pytest.fixture(scope="module")
def study(small: Study, tmp_path_factory: pytest.TempPathFactory) -> SavedStudy:
    folder = tmp_path_factory.mktemp("comparison") / "study"
    run_study(small, folder)
    return load_study(str(folder))


def test_a_study_is_a_data_frame_with_a_row_per_cell(study: SavedStudy) -> None:
    frame = study.to_pandas()
    assert len(frame) == len(study.rows) + len(study.baselines)
    for (_, line), row in zip(frame.iterrows(), study.rows, strict=False):
        assert {name: line[name] for name in row["scores"]} == row["scores"]
        assert (line["decoder"], line["seed"]) == (row["decoder"], row["seed"])
        assert [line["Length_low"], line["Length_high"]] == row["intervals"]["Length"]
    assert list(frame["name"].dropna()) == [row["name"] for row in study.baselines]
    assert not {"scores", "intervals"} & {*frame.columns}


def test_rows_are_compared_by_selector_and_by_study(study: SavedStudy) -> None:
    greedy, other = (f"{study.folder}::{row['decoder']}" for row in study.rows)
    comparison = compare(greedy, other)
    difference = comparison["Length"]
    assert difference.low <= difference.value <= difference.high
    back = compare(other, "::greedy")["Length"]
    assert (back.value, back.low, back.high) == pytest.approx(
        (-difference.value, -difference.high, -difference.low)
    )
    assert comparison.config_diff["decoder"][0] == "greedy"
    same = compare(study, study)
    assert [pair.scores["Length"].difference.value for pair in same.pairs] == [0] * len(same.pairs)
    assert same.unmatched == ([], [])
    with pytest.raises(PrefixcapError, match="are the same row of one study"):
        compare(greedy, "::greedy")


def test_notebooks_show_short_reprs(study: SavedStudy) -> None:
    comparison = compare(f"{study.folder}::greedy", f"::{study.rows[1]['decoder']}")
    text = repr(comparison)
    assert text.startswith(f"<Comparison of {study.folder}::linear P=2 greedy with ")
    assert f"Length {comparison['Length']}" in text
    assert repr(study) == f"<SavedStudy {study.folder}: 2 cells, 8 images>"
    assert all(len(repr(cell)) < 80 for cell in study.cells.values())
    assert repr(Estimate(value=0.51234, low=0.4, high=0.6)) == "0.5123 [0.4, 0.6]"
    assert repr(Estimate(value=120.0)) == "120"
    real = Difference(value=1.5, low=0.5, high=2.5, p=0.001, adjusted=0.01)
    assert repr(real) == "+1.5 [+0.5, +2.5], adjusted p = 0.01"
    assert real.significant
    assert (-real).high == -0.5
    chance = Difference(value=0.5, low=-0.5, high=1.5, p=0.03, adjusted=0.06)
    assert repr(chance).endswith("adjusted p = 0.06, not significant")


def row(decoder: str, **fields: object) -> TableRow:
    known = {**dict.fromkeys(FIELDS, "same"), "decoder": decoder, **fields}
    return TableRow(label=decoder, fields=known, baseline=False, seeds=(), cells=(), scores={})


def test_a_field_that_only_distinguishes_the_studies_is_ignored() -> None:
    one = [row(decoder, encoder="clip") for decoder in ("greedy", "beam")]
    two = [row(decoder, encoder="dino") for decoder in ("beam", "top-p")]
    pairs, unmatched = match_rows(one, two)
    assert [(a.label, b.label) for a, b in pairs] == [("beam", "beam")]
    assert unmatched == (["greedy"], ["top-p"])
    several = [*two, row("beam", encoder="siglip")]
    assert match_rows(one, several) == ([], (["greedy", "beam"], ["beam", "top-p", "beam"]))
