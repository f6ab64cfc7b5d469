"""What a cell's scores could have been: the bootstrap over images, made once and used often."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import TypeAlias

import attrs
import numpy as np
from numpy.typing import NDArray

from prefixcap.errors import PrefixcapError, nearest
from prefixcap.evaluation.stats.base import Array, Statistic
from prefixcap.evaluation.stats.seeds import SeedVariance, t_draws

Cell: TypeAlias = Statistic | Sequence[Statistic]
"""One cell of a study: its statistic, or one a seed (same settings, same images)."""

BLOCK = 128  # resamples whose weights are in memory at once


@attrs.frozen(kw_only=True, eq=False)
class Replicates:
    """A cell's scores on resampled images.

    The resamples follow from the number of images, S and the seed, so the replicates of any two
    cells on the same images are paired.

    Attributes:
        names: what the K scores are called.
        images: the images.
        observed: (seeds,K), the scores on the images as they are, of each of the cell's seeds.
        drawn: (S,K), the mean over the cell's seeds on each resample.
        seed: of the resamples.
    """

    names: tuple[str, ...]
    images: tuple[Hashable, ...]
    observed: Array
    drawn: Array
    seed: int

    def of(self, names: Sequence[str]) -> Replicates:
        """Returns the replicates of some of the scores.

        Raises:
            PrefixcapError: one of them is not known.
        """
        unknown = [name for name in names if name not in self.names]
        if unknown:
            raise PrefixcapError(f"no score {unknown[0]!r}{nearest(unknown[0], self.names)}")
        columns = [self.names.index(name) for name in names]
        return attrs.evolve(
            self,
            names=tuple(names),
            observed=self.observed[:, columns],
            drawn=self.drawn[:, columns],
        )


def replicate(cell: Cell, *, resamples: int = 1000, seed: int = 0) -> Replicates:
    """Computes a cell's scores anew on resampled images (Efron 1979).

    Args:
        cell: a statistic, or one a seed.
        resamples: the number of resamples S.
        seed: of the resamples.

    Raises:
        PrefixcapError: the number of resamples is not positive, or the cell's seeds differ in
            their images or scores.
    """
    if resamples < 1:
        raise PrefixcapError(f"the number of resamples must be at least 1, not {resamples}")
    statistics = [cell] if isinstance(cell, Statistic) else list(cell)
    if not statistics:
        raise PrefixcapError("a cell without a single seed has no score")
    for other in statistics:
        check_alike(statistics[0], other)
    images = statistics[0].images
    ones = np.ones((1, len(images)), dtype=np.int64)
    blocks = draw_weights(len(images), resamples, np.random.default_rng(seed))
    drawn = [np.mean([each.resampled(w) for each in statistics], axis=0) for w in blocks]
    return Replicates(
        names=statistics[0].names,
        images=images,
        observed=np.concatenate([each.resampled(ones) for each in statistics]),
        drawn=np.concatenate(drawn),
        seed=seed,
    )


def draw_weights(
    images: int, resamples: int, rng: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """Yields blocks of weights (block,I): I images drawn with replacement, S times in all."""
    for start in range(0, resamples, BLOCK):
        block = min(BLOCK, resamples - start)
        drawn = rng.integers(images, size=(block, images)) + np.arange(block)[:, None] * images
        counts = np.bincount(drawn.ravel(), minlength=block * images)
        yield counts.reshape(block, images)


def combined(replicates: Sequence[Replicates]) -> Replicates:
    """Joins the replicates of one cell's seeds, each made alone, as if made together.

    Raises:
        PrefixcapError: there are none, or they differ in their images, scores or resamples.
    """
    if not replicates:
        raise PrefixcapError("a cell without a single seed has no score")
    first = replicates[0]
    for other in replicates:
        check_alike(first, other)
        check_resamples(first, other)
    return attrs.evolve(
        first,
        observed=np.concatenate([each.observed for each in replicates]),
        drawn=np.mean([each.drawn for each in replicates], axis=0),
    )


def errors(drawn: Array, spread: SeedVariance | None, seed: int) -> Array:
    """Draws errors (S,K) of scores (or differences), from images and from seeds.

    The replicates' own mean is taken off: a resample holds some images twice, which moves CIDEr's
    document frequencies and with them all replicates to one side, where no fresh sample of images
    would be. Where there are several seeds, their standard error times Student's t is added,
    because so few values say little about their own variance.

    Args:
        drawn: (S,K), means over seeds on the resamples.
        spread: what the seeds bring.
        seed: of the resamples.
    """
    found: Array = drawn - drawn.mean(axis=0)
    if spread is None:
        return found
    draws = t_draws(spread.freedom, len(drawn), seed)
    seeds: Array = found + draws[:, None] * spread.error
    return seeds


def ends(drawn: Array, level: float) -> tuple[Array, Array]:
    """Returns the ends (K) and (K) of the middle part, of size `level`, of values (S,K).

    Raises:
        PrefixcapError: the level is out of range.
    """
    check_level(level)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


def check_alike(one: Statistic | Replicates, other: Statistic | Replicates) -> None:
    """Checks that two can be compared: the same scores of the same images in the same order.

    Raises:
        PrefixcapError: they cannot; an image that only one has is named.
    """
    if one.names != other.names:
        raise PrefixcapError(
            f"only the same scores can be compared, not {', '.join(one.names)} "
            f"and {', '.join(other.names)}"
        )
    if one.images != other.images:
        lacking = set(one.images) ^ set(other.images)
        what = f"{next(iter(lacking))!r} is in one only" if lacking else "their order differs"
        raise PrefixcapError(f"only scores of the same images can be compared: {what}")


def check_resamples(one: Replicates, other: Replicates) -> None:
    """Checks that two cells were seen on the same resamples.

    Raises:
        PrefixcapError: they were not.
    """
    if one.seed != other.seed or len(one.drawn) != len(other.drawn):
        raise PrefixcapError(
            "only the same resamples can be compared, not "
            f"{len(one.drawn)} of seed {one.seed} and "
            f"{len(other.drawn)} of seed {other.seed}"
        )


def check_level(level: float) -> None:
    """Checks a confidence level.

    Raises:
        PrefixcapError: it is out of range.
    """
    if not 0 < level < 1:
        raise PrefixcapError(f"the level must be between 0 and 1, not {level}")
