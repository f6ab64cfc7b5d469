"""Confidence intervals of corpus scores, by bootstrap over images and by seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import attrs
import numpy as np
from numpy.typing import NDArray

from prefixcap.errors import PrefixcapError
from prefixcap.stats.base import Array, Statistic

Cell: TypeAlias = Statistic | Sequence[Statistic]
"""One cell of a study: its statistic, or one a seed (same settings, same images)."""

BLOCK = 128  # resamples whose weights are in memory at once


@attrs.frozen(kw_only=True)
class Interval:
    """A score with its confidence interval.

    Attributes:
        name: the score's name.
        value: the score; the mean over seeds where there are several.
        low: the lower end.
        high: the upper end.
        level: the confidence level.
    """

    name: str
    value: float
    low: float
    high: float
    level: float


def bootstrap_interval(
    cell: Cell, *, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> list[Interval]:
    """Gives each score of a cell its confidence interval.

    The method is the bootstrap over images (Efron 1979), corpus scores computed anew on each
    resample, with the replicates moved to have the score itself as their mean. They need to be: a
    resample holds some images twice, which shifts CIDEr's document frequencies and makes its
    replicates higher or lower than any fresh sample of images would be. Percentile intervals
    inherit this shift, basic and BCa intervals turn it round. What the interval covers is the
    expected score of as many images from the same source. With several seeds their variance is
    added, see `replicates`; with one, nothing is said about other seeds.

    Args:
        cell: a statistic, or one a seed.
        level: the confidence level.
        resamples: the number of resamples S.
        seed: of the resamples.

    Returns:
        K intervals.

    Raises:
        PrefixcapError: the level or the number of resamples is out of range, or seeds differ in
            their images.
    """
    check(level, resamples)
    statistics = as_seeds(cell)
    (drawn,) = replicates([cell], resamples=resamples, seed=seed)
    return [
        Interval(name=name, value=float(value), low=float(low), high=float(high), level=level)
        for name, value, low, high in zip(
            statistics[0].names, observed(cell), *ends(drawn, level), strict=True
        )
    ]


def replicates(cells: Sequence[Cell], *, resamples: int, seed: int) -> list[Array]:
    """Draws what each cell's scores could have been, on the same resampled images for all cells.

    With n > 1 seeds a replicate is the mean over seeds on the resampled images, plus a draw of the
    mean's error over seeds: the seeds' standard deviation / sqrt(n) times Student's t with n - 1
    degrees of freedom, because so few values say little about their own variance. These draws are
    the same for cells with as many seeds only in the sense of `compare`: there the differences are
    taken first, seed by seed.

    Args:
        cells: statistics, or one a seed each; all of the same images.
        resamples: the number of resamples S.
        seed: of the resamples.

    Returns:
        Each cell's (S,K), moved so that the mean is the observed score.

    Raises:
        PrefixcapError: the images differ.
    """
    found = [as_seeds(cell) for cell in cells]
    check_same_images([statistic for each in found for statistic in each])
    rng = np.random.default_rng(seed)
    drawn: list[list[Array]] = [[] for _ in cells]
    for weights in draw_weights(len(found[0][0].images), resamples, rng):
        for cell, each in zip(drawn, found, strict=True):
            cell.append(np.mean([one.resampled(weights) for one in each], axis=0))
    return [
        centred(np.concatenate(cell), observed(each)) + seed_errors(scores(each), resamples, rng)
        for cell, each in zip(drawn, found, strict=True)
    ]


def draw_weights(
    images: int, resamples: int, rng: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """Yields blocks of weights (block,I): I images drawn with replacement, S times in all."""
    for start in range(0, resamples, BLOCK):
        block = min(BLOCK, resamples - start)
        drawn = rng.integers(images, size=(block, images)) + np.arange(block)[:, None] * images
        counts = np.bincount(drawn.ravel(), minlength=block * images)
        yield counts.reshape(block, images)


def seed_errors(scores: Array, resamples: int, rng: np.random.Generator) -> Array:
    """Draws (S,K) errors of the mean over seeds, from the scores (seeds,K)."""
    seeds, width = scores.shape
    if seeds == 1:
        return np.zeros((resamples, width))
    errors: Array = scores.std(axis=0, ddof=1) / np.sqrt(seeds)
    return rng.standard_t(seeds - 1, size=(resamples, width)) * errors


def observed(cell: Cell) -> Array:
    """Returns a cell's scores (K), the mean over its seeds."""
    mean: Array = scores(as_seeds(cell)).mean(axis=0)
    return mean


def scores(statistics: Sequence[Statistic]) -> Array:
    """Returns each seed's scores (seeds,K) on the corpus as it is."""
    ones = np.ones((1, len(statistics[0].images)), dtype=np.int64)
    return np.concatenate([statistic.resampled(ones) for statistic in statistics])


def centred(drawn: Array, value: Array) -> Array:
    """Moves replicates (S,K) so that their mean is the value (K)."""
    moved: Array = drawn - drawn.mean(axis=0) + value
    return moved


def ends(drawn: Array, level: float) -> tuple[Array, Array]:
    """Returns the ends (K) and (K) of the middle part, of size `level`, of replicates (S,K)."""
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


def as_seeds(cell: Cell) -> list[Statistic]:
    """Returns a cell's statistics, one a seed.

    Raises:
        PrefixcapError: there are none, or they are of different scores.
    """
    statistics = [cell] if isinstance(cell, Statistic) else list(cell)
    if not statistics:
        raise PrefixcapError("a cell without a single seed has no score")
    for other in statistics[1:]:
        if other.names != statistics[0].names:
            raise PrefixcapError(
                f"the seeds of a cell differ in their scores: {statistics[0].names}, {other.names}"
            )
    return statistics


def check_same_images(statistics: Sequence[Statistic]) -> None:
    """Checks that statistics are of the same images in the same order.

    Raises:
        PrefixcapError: they are not; an image that only one has is named.
    """
    first = statistics[0].images
    for other in statistics[1:]:
        if other.images != first:
            lacking = set(first) ^ set(other.images)
            what = f"{next(iter(lacking))!r} is in one only" if lacking else "their order differs"
            raise PrefixcapError(f"only scores of the same images can be compared: {what}")


def check(level: float, resamples: int) -> None:
    """Checks the settings of a bootstrap.

    Raises:
        PrefixcapError: one is out of range.
    """
    if not 0 < level < 1:
        raise PrefixcapError(f"the level must be between 0 and 1, not {level}")
    if resamples < 1:
        raise PrefixcapError(f"the number of resamples must be at least 1, not {resamples}")
