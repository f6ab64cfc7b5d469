from __future__ import annotations

import attrs

from prefixcap.evaluation.stats import Estimate
from prefixcap.interfaces.metric import NO_SCALE
from prefixcap.report.content import TIED, Content
from prefixcap.report.findings import sentences


def test_the_best_row_its_ties_and_the_baselines(content: Content) -> None:
    first, ties, baseline = sentences(content, 1)
    label = content.rows[3].label
    assert first == (
        f"1 image, 4 rows with a model. By CIDEr, {label} is best: 0.800 "
        "[0.700, 0.900], the mean of 2 seeds."
    )
    assert ties.startswith("1 of 3 other rows is not significantly worse")
    assert baseline == (
        "Without any model, nearest training image has 0.400 [0.300, 0.500]: none of the 4 rows "
        "is significantly better."
    )


def test_a_score_without_a_direction_names_the_highest_row(content: Content) -> None:
    rows = [
        attrs.evolve(row, scores={"CIDEr": row.scores["CIDEr"]}, marks={}) for row in content.rows
    ]
    messages = sentences(attrs.evolve(content, scale=NO_SCALE, rows=rows), 1000)
    label = content.rows[3].label
    assert messages == [
        f"1,000 images, 4 rows with a model. {label} has the highest CIDEr: 0.800 "
        "[0.700, 0.900], the mean of 2 seeds.",
        "Without any model, nearest training image has the highest, 0.400 [0.300, 0.500]: none of "
        "the 4 rows is significantly higher.",
    ]


def test_cells_without_the_score_are_not_counted(content: Content) -> None:
    grid = [cell for cell in content.rows if not cell.baseline]
    tied = attrs.evolve(grid[0], scores={"CIDEr": Estimate(value=0.1)}, marks={"CIDEr": TIED})
    rows = [tied, attrs.evolve(grid[1], scores={})]
    assert sentences(attrs.evolve(content, rows=rows, pairs={}), 2)[0].startswith(
        "2 images, 1 row with a model. By CIDEr, mlp P=1 greedy is best: 0.100"
    )
