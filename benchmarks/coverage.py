"""How often intervals over images and seeds cover, and how often a table of equals raises alarms.

    python benchmarks/coverage.py [--runs 400]

Each run draws a table of six cells that differ in nothing: 100 images with scores of their own,
seeds with an effect on all images (its standard deviation against the images' standard error is
`seeds`), and noise of each seed on each image. `unequal` is the log-normal spread of the seeds'
standard deviations over cells; the method takes them to be equal. Said of each setting: how many
95% intervals cover the true score (0); how many tables call any of their 15 pairs real after
Holm's correction, and how many two cells alone do, at level 0.05.
"""

from __future__ import annotations

import argparse

import numpy as np

from prefixcap.evaluation.stats import Cells, Mean, Replicates, bootstrap_interval, holm, replicate

CELLS, IMAGES = 6, 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=400)
    runs = parser.parse_args().runs
    print(
        "seeds of a cell, seeds, unequal: intervals that cover, tables and pairs with an alarm, %"
    )
    for count in (1, 2, 3, 5):
        for size, unequal in ((0.3, 0.0), (1.0, 0.0), (3.0, 0.0), (3.0, 0.5)):
            if count == 1 and size > 0.3:
                continue  # of one seed nothing is known, and nothing is claimed
            share = simulate(count, 0.0 if count == 1 else size, unequal, runs)
            shown = " ".join(f"{100 * each:5.1f}" for each in share)
            print(f"{count} {size:.1f} {unequal:.1f}: {shown}", flush=True)


def simulate(count: int, size: float, unequal: float, runs: int) -> tuple[float, float, float]:
    """Returns the shares of intervals that cover and of tables and pairs with an alarm."""
    rng = np.random.default_rng(count)
    covered = tables = pairs = 0
    for _ in range(runs):
        images = rng.normal(size=IMAGES)
        cells = [cell(rng, images, count, size, unequal) for _ in range(CELLS)]
        table = Cells(replicates=cells, fixed=[False] * CELLS)
        (found,) = bootstrap_interval(cells[0], spread=table.spread(0))
        covered += found.low <= 0 <= found.high
        tables += min(holm(list(table.pairs().p[:, 0]))) <= 0.05
        alone = Cells(replicates=cells[:2], fixed=[False] * 2)
        pairs += bool(alone.pairs().p[0, 0] <= 0.05)
    return covered / runs, tables / runs, pairs / runs


def cell(
    rng: np.random.Generator, images: np.ndarray, count: int, size: float, unequal: float
) -> Replicates:
    deviation = size / np.sqrt(IMAGES) * np.exp(unequal * rng.normal())
    seeds = rng.normal(0, deviation, (count, 1)) + rng.normal(0, 0.7, (count, IMAGES))
    means = [Mean({"x": list(map(float, images + each))}, range(IMAGES)) for each in seeds]
    return replicate(means, resamples=200)


if __name__ == "__main__":
    main()
