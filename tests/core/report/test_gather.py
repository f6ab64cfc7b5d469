from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest

from prefixcap.errors import PrefixcapError
from prefixcap.evaluation.stats import Estimate
from prefixcap.report.content import ReportRow
from prefixcap.report.gather import _diversity, _pairs, _quality, _sentence
from prefixcap.study.analysis.analysis import Analysis, correction_for
from prefixcap.study.analysis.reader import SavedStudy
from prefixcap.study.analysis.rows import TableRow


def cell(number: int, *scores: str, baseline: bool = False) -> ReportRow:
    known = {name: Estimate(value=1.0) for name in scores}
    return ReportRow(id=f"c{number}", label="", scores=known, baseline=baseline)


def compared(count: int, numbers: list[int]) -> Analysis:
    """An analysis of `count` entries, some of which were compared."""
    entry = {"label": "", "fields": {}, "baseline": False, "seeds": (0,), "cells": ()}
    size = len(list(combinations(numbers, 2)))
    pairs = {
        "entries": numbers,
        "value": [n / 10 for n in range(size)],
        "low": [n / 10 - 1 for n in range(size)],
        "high": [n / 10 + 2 for n in range(size)],
        "p": [0.5] * size,
        "holm": [(n + 1) / 40 for n in range(size)],
        "benjamini-hochberg": [0.01] * size,
    }
    return Analysis(
        key="",
        level=0.95,
        resamples=0,
        images=0,
        scores=("CIDEr",),
        entries=tuple(TableRow(scores={}, **entry) for _ in range(count)),  # type: ignore[arg-type]
        pairs={"CIDEr": pairs},
    )


def test_pairs_are_those_of_the_analysis() -> None:
    numbers = [0, 2, 3, 5]
    made = compared(6, numbers)
    cells = [cell(n) for n in range(6)]
    result = _pairs(made, cells, "CIDEr", "holm")
    assert [*result] == [(f"c{one}", f"c{two}") for one, two in combinations(numbers, 2)]
    assert sum(pair.significant for pair in result.values()) == 2
    for one, two in combinations(numbers, 2):
        assert result[f"c{one}", f"c{two}"] == made.difference(one, two, "CIDEr", "holm")
    every = _pairs(made, cells, "CIDEr", "benjamini-hochberg").values()
    assert {pair.significant for pair in every} == {True}
    assert _pairs(made, cells, "SPICE", "holm") == {}


def test_a_thousand_cells_are_paired_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = compared(1000, list(range(1000)))

    def looked_up(*_: object) -> None:
        raise AssertionError("each of half a million pairs would be searched for in a list")

    monkeypatch.setattr(Analysis, "difference", looked_up)
    assert len(_pairs(made, [cell(n) for n in range(1000)], "CIDEr", "holm")) == 499_500


NAMES = ["Length", "CIDEr", "SPICE"]


@pytest.mark.parametrize("score", ["cider", "CIDEr", "CIDER", None])
def test_the_case_of_a_score_does_not_matter(score: str | None) -> None:
    assert _quality(score, [cell(0, "Length", "CIDEr")], NAMES) == "CIDEr"


def test_the_main_score_exists_for_all_seeds_of_a_cell() -> None:
    cells = [cell(0, "Length"), cell(1, "CIDEr", baseline=True)]
    assert _quality(None, cells, NAMES) == "Length"
    with pytest.raises(
        PrefixcapError,
        match=r"^--score CIDEr: no cell has it for all of its seeds; known: Length$",
    ):
        _quality("CIDEr", cells, NAMES)
    with pytest.raises(PrefixcapError, match="no cell of the study has a score for all of its se"):
        _quality(None, [cell(0), cell(1, "CIDEr", baseline=True)], NAMES)


def test_two_measures_of_diversity_are_not_compared() -> None:
    names = ["Distinct_1", "Distinct_2", "CIDEr"]
    assert _diversity(names, "CIDEr") == "Distinct_2"
    assert _diversity(names, "Distinct_1") == "Distinct_1"
    assert _diversity(["CIDEr"], "CIDEr") is None


@pytest.mark.parametrize("text", ["warning: too few", "warning: too few."])
def test_a_warning_is_a_sentence(text: str) -> None:
    assert _sentence(text) == "Warning: too few."


def test_the_correction_defaults_to_the_studys(tmp_path: Path) -> None:
    def study(**config: str) -> SavedStudy:
        rest = {"rows": [], "baselines": [], "cells": {}, "images": [], "skipped": []}
        return SavedStudy(folder=tmp_path, config=config, complete=True, **rest)  # type: ignore[arg-type]

    other = study(correction="benjamini-hochberg")
    assert correction_for(study()) == "holm"
    assert correction_for(other) == "benjamini-hochberg"
    assert correction_for(other, chosen="holm") == correction_for(other, study()) == "holm"
    with pytest.raises(PrefixcapError, match=r"config.json: 'correction' cannot be 'hol'; did you"):
        correction_for(study(correction="hol"))
    with pytest.raises(PrefixcapError, match=r"^--correction cannot be 'hol'; did you mean 'holm'"):
        correction_for(other, chosen="hol")
