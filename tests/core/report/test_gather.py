from __future__ import annotations

import tracemalloc
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from prefixcap_metrics.configs import Cider, Distinct, Length, Spice

from prefixcap.errors import PrefixcapError
from prefixcap.evaluation.stats import Estimate
from prefixcap.interfaces.metric import scale_of
from prefixcap.report.content import ReportRow
from prefixcap.report.gather import _diversity, _pairs, _quality, _sentence
from prefixcap.study.analysis.analysis import Analysis, correction_for
from prefixcap.study.analysis.reader import SavedStudy
from prefixcap.study.analysis.rows import TableRow
from prefixcap.study.analysis.score_pairs import ScorePairs


def cell(number: int, *scores: str, baseline: bool = False) -> ReportRow:
    known = {name: Estimate(value=1.0) for name in scores}
    return ReportRow(id=f"c{number}", label="", scores=known, baseline=baseline)


def compared(count: int, numbers: list[int]) -> Analysis:
    """An analysis of `count` entries, some of which were compared."""
    entry = {"label": "", "fields": {}, "baseline": False, "seeds": (0,), "cells": ()}
    size = len(list(combinations(numbers, 2)))
    pairs = ScorePairs(
        entries=tuple(numbers),
        level=0.95,
        value=np.arange(size) / 10,
        low=np.arange(size) / 10 - 1,
        high=np.arange(size) / 10 + 2,
        p=np.full(size, 0.5),
        adjusted={
            "holm": (np.arange(size) + 1) / 40,
            "benjamini-hochberg": np.full(size, 0.01),
        },
    )
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


def test_half_a_million_pairs_are_made_when_they_are_looked_up() -> None:
    made = compared(1000, list(range(1000)))
    tracemalloc.start()
    result = _pairs(made, [cell(n) for n in range(1000)], "CIDEr", "holm")
    assert len(result) == 499_500
    assert result["c998", "c999"].value == pytest.approx(49949.9)
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()
    with pytest.raises(KeyError):
        result["c999", "c998"]


NAMES = ["Length", "CIDEr", "SPICE"]
METRICS = (Cider(), Spice(), Distinct(), Length())
SCALES = {name: scale_of(METRICS, name) for name in (*NAMES, "Distinct_1", "Distinct_2")}


@pytest.mark.parametrize("score", ["cider", "CIDEr", "CIDER", None])
def test_the_case_of_a_score_does_not_matter(score: str | None) -> None:
    assert _quality(score, [cell(0, "Length", "CIDEr")], NAMES, SCALES) == "CIDEr"


def test_the_main_score_exists_for_all_seeds_of_a_cell() -> None:
    cells = [cell(0, "Length"), cell(1, "CIDEr", baseline=True)]
    assert _quality(None, cells, NAMES, SCALES) == "Length"
    with pytest.raises(
        PrefixcapError,
        match=r"^--score CIDEr: no cell has it for all of its seeds; known: Length$",
    ):
        _quality("CIDEr", cells, NAMES, SCALES)
    with pytest.raises(PrefixcapError, match="no cell of the study has a score for all of its se"):
        _quality(None, [cell(0), cell(1, "CIDEr", baseline=True)], NAMES, SCALES)


def test_two_measures_of_diversity_are_not_compared() -> None:
    names = ["Distinct_1", "Distinct_2", "CIDEr"]
    assert _diversity(names, "CIDEr", SCALES) == "Distinct_2"
    assert _diversity(names, "Distinct_1", SCALES) == "Distinct_1"
    assert _diversity(["CIDEr"], "CIDEr", SCALES) is None


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
