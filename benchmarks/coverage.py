"""Coverage of intervals over images and seeds, and false positives in a table of equal cells.

    python benchmarks/coverage.py [--runs 400]

Each run draws a table of six cells whose true scores are all 0: 100 images with a score each,
seeds with an effect on all images (`seeds` is its standard deviation divided by the images'
standard error), and noise of each seed on each image. `unequal` is the log-normal spread of the
seeds' standard deviations over cells, which the method assumes to be equal. For each setting: how
many 95% intervals cover the true score; in how many tables any of the 15 pairs is significant
after Holm's correction, and how often two cells alone are, at level 0.05.
"""

from __future__ import annotations

import argparse

import numpy as np

from prefixcap.evaluation.stats import (
    CellTable,
    Mean,
    Replicates,
    bootstrap_interval,
    holm,
    replicate,
)

CELLS, IMAGES = 6, 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=400)
    runs = parser.parse_args().runs
    print("seeds of a cell, seeds, unequal: coverage, tables and pairs with false positives, %")
    for count in (1, 2, 3, 5):
        for size, unequal in ((0.3, 0.0), (1.0, 0.0), (3.0, 0.0), (3.0, 0.5)):
            if count == 1 and size > 0.3:
                continue  # the variance between seeds is unknown with one seed
            share = simulate(count, 0.0 if count == 1 else size, unequal, runs)
            shown = " ".join(f"{100 * each:5.1f}" for each in share)
            print(f"{count} {size:.1f} {unequal:.1f}: {shown}", flush=True)


def simulate(count: int, size: float, unequal: float, runs: int) -> tuple[float, float, float]:
    """Return the rates of intervals that cover and of tables and pairs with false positives."""
    rng = np.random.default_rng(count)
    covered = tables = pairs = 0
    for _ in range(runs):
        images = rng.normal(size=IMAGES)
        cells = [cell(rng, images, count, size, unequal) for _ in range(CELLS)]
        table = CellTable(replicates=cells, fixed=[False] * CELLS)
        (estimate,) = bootstrap_interval(cells[0], variance=table.seed_variance(0)).values()
        covered += estimate.bounds[0] <= 0 <= estimate.bounds[1]
        tables += min(holm(list(table.pairs().p[:, 0]))) <= 0.05
        alone = CellTable(replicates=cells[:2], fixed=[False] * 2)
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
