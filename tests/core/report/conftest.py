from __future__ import annotations

import json

import pytest

from prefixcap.evaluation.stats import Difference, Estimate
from prefixcap.interfaces.metric import Scale
from prefixcap.report.content import BEST, TIED, Content, Curve, Gallery, ReportRow

HOSTILE = "</script><script>window.hacked = 1</script><b>&amp;\" 'x"


@pytest.fixture(scope="session")
def hostile() -> str:
    """A text that is harmful if it is not escaped."""
    return HOSTILE


@pytest.fixture(scope="session")
def content() -> Content:
    """The content of a report of four cells and a baseline, with hostile texts."""
    grid = [
        cell(f"c{n}", mapper, length, 0.5 + 0.1 * n, BEST if n == 3 else TIED if n == 2 else "")
        for n, (mapper, length) in enumerate(
            (mapper, length) for mapper in ("mlp", HOSTILE) for length in (1, 10)
        )
    ]
    baseline = ReportRow(
        id="c4",
        label="nearest training image",
        columns={"mapper": "nearest training image", "P": "", "decoder": ""},
        scores={"CIDEr": Estimate(value=0.4, low=0.3, high=0.5), "Distinct_2": Estimate(value=0.3)},
        baseline=True,
    )
    cells = [*grid, baseline]
    pairs = {
        (one.id, two.id): Difference(value=-0.1, low=-0.2, high=-0.01, p=0.002, adjusted=0.02)
        for place, one in enumerate(cells)
        for two in cells[place + 1 :]
    }
    return Content(
        title=f"Captions of {HOSTILE}",
        quality="CIDEr",
        scale=Scale(better="higher"),
        headlines=["CIDEr"],
        diversity="Distinct_2",
        rows=cells,
        single=[],
        score_names=["CIDEr", "Distinct_2"],
        fact_names=["captions/s", "trained parameters"],
        pairs=pairs,
        correction="paired bootstrap, 10 pairs, Holm, p < 0.05",
        level=0.95,
        images=7,
        curves=[curve(1, 0), curve(10, 1)],
        settings={"data set": HOSTILE},
        config=json.dumps({"path": HOSTILE}),
        study_file=f"dataset = {json.dumps(HOSTILE)}",
        folder=f"runs/{HOSTILE}",
        versions={"prefixcap": "0.1.0"},
        date="2026-01-01",
        findings=[f"By CIDEr, {HOSTILE} is best."],
        notes=[HOSTILE],
        gallery=gallery(),
    )


def cell(name: str, mapper: str, length: int, value: float, mark: str) -> ReportRow:
    return ReportRow(
        id=name,
        label=f"{mapper} P={length} greedy",
        mapper=mapper,
        prefix_length=length,
        decoder="greedy",
        panel=mapper,
        columns={"mapper": mapper, "P": str(length), "decoder": "greedy"},
        seeds=(0, 1),
        scores={
            "CIDEr": Estimate(value=value, low=value - 0.1, high=value + 0.1),
            "Distinct_2": Estimate(value=0.3 - value / 10),
        },
        marks={"CIDEr": mark} if mark else {},
        facts={"captions/s": 10.0 * length, "trained parameters": 1234567},
    )


def curve(length: int, seed: int) -> Curve:
    return Curve(
        id=f"mlp-p{length}-s{seed}",
        panel="mlp",
        prefix_length=length,
        seed=seed,
        columns={"mapper": "mlp", "P": str(length), "seed": str(seed)},
        steps=(3.0, 2.5, 2.2, 2.0),
        train=(2.75, 2.1),
        val=(2.6, 2.2),
        best=2,
    )


def gallery() -> Gallery:
    return Gallery(
        names=["mlp P=1 greedy", HOSTILE, "nearest training image"],
        baselines=1,
        images=[
            {
                "id": f"{HOSTILE} {number}",
                "references": (HOSTILE, "A dog."),
                "captions": [[HOSTILE, "A cat."], ["A cat."], [""]],
                "picture": "data:image/webp;base64,UklGRg==",
                "size": (10, 10),
            }
            for number in range(2)
        ],
        scores={"CIDEr": [[0.1, 0.2], None, [0.0, 0.5]]},
        first=0,
        second=2,
        total=7,
    )
