"""The bootstrap over images: the scores of a cell on resampled corpora, computed once."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import TypeAlias

import attrs
import numpy as np
from numpy.typing import NDArray

from prefixcap.errors import PrefixcapError, nearest
from prefixcap.evaluation.stats.base import Array, Statistic
from prefixcap.evaluation.stats.estimates import Estimate
from prefixcap.evaluation.stats.seeds import SeedVariance, own_seed_variance, t_draws

Ranges: TypeAlias = Mapping[str, tuple[float | None, float | None]]
"""The lowest and the highest possible value of scores; None if there is none."""

BLOCK = 128
"""Resamples whose weights are in memory at once."""


@attrs.frozen(kw_only=True, eq=False)
class Replicates:
    """The scores of a cell on resampled images.

    Resamples depend only on the number of images, S and the seed, so the replicates of any two
    cells on the same images are paired.

    Attributes:
        names: The names of the K scores.
        images: The images.
        observed: (seeds,K), the scores of each of the cell's seeds on the original images.
        drawn: (S,K), the mean over the cell's seeds on each resample.
        seed: The seed of the resamples.
    """

    names: tuple[str, ...]
    images: tuple[Hashable, ...]
    observed: Array
    drawn: Array
    seed: int

    def of(self, names: Sequence[str]) -> Replicates:
        """Return the replicates of some of the scores.

        Raises:
            PrefixcapError: If one of them is unknown.
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


def replicate(
    cell: Statistic | Sequence[Statistic], *, resamples: int = 1000, seed: int = 0
) -> Replicates:
    """Recompute a cell's scores on resampled images (Efron 1979).

    Args:
        cell: A statistic, or one per seed.
        resamples: The number of resamples S.
        seed: The seed of the resamples.

    Raises:
        PrefixcapError: If `resamples` is less than 1, or the cell's seeds differ in their images
            or scores.
    """
    if resamples < 1:
        raise PrefixcapError(f"the number of resamples must be at least 1, not {resamples}")
    statistics = [cell] if isinstance(cell, Statistic) else list(cell)
    if not statistics:
        raise PrefixcapError("a cell needs at least one seed")
    for other in statistics:
        check_comparable(statistics[0], other)
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
    """Yield blocks of weights (block,I): I images drawn with replacement, S times in all."""
    for start in range(0, resamples, BLOCK):
        block = min(BLOCK, resamples - start)
        # each row counts in its own range of I bins, so one bincount serves the block
        drawn = rng.integers(images, size=(block, images)) + np.arange(block)[:, None] * images
        counts = np.bincount(drawn.ravel(), minlength=block * images)
        yield counts.reshape(block, images)


def pool_seeds(replicates: Sequence[Replicates]) -> Replicates:
    """Pool the replicates of a cell's seeds, as if they had been computed together.

    Raises:
        PrefixcapError: If there are none, or they differ in their images, scores or resamples.
    """
    if not replicates:
        raise PrefixcapError("a cell needs at least one seed")
    first = replicates[0]
    for other in replicates:
        check_comparable(first, other)
        check_resamples(first, other)
    return attrs.evolve(
        first,
        observed=np.concatenate([each.observed for each in replicates]),
        drawn=np.mean([each.drawn for each in replicates], axis=0),
    )


def bootstrap_interval(
    replicates: Replicates,
    *,
    level: float = 0.95,
    variance: SeedVariance | None = None,
    ranges: Ranges | None = None,
) -> dict[str, Estimate]:
    """Estimate each score of a cell with a bootstrap confidence interval.

    The replicates are centered on the score itself, see `bootstrap_deviations`. The interval
    covers the expected score of as many images from the same source and, if the cell has several
    seeds, of other seeds.

    Without a variance between seeds, it is estimated from the cell's own seeds. `ranges` has the
    lowest and highest possible value of some scores; where an interval would leave them it ends
    there, which takes no possible value out of it.

    Raises:
        PrefixcapError: If the level is not between 0 and 1.
    """
    value = replicates.observed.mean(axis=0)  # (K)
    variance = own_seed_variance(replicates.observed) if variance is None else variance
    drawn = value + bootstrap_deviations(replicates.drawn, variance, replicates.seed)
    low, high = percentile_interval(drawn, level)
    estimates = {}
    for k, name in enumerate(replicates.names):
        limits = (ranges or {}).get(name, (None, None))
        ends = (_within(float(end[k]), float(value[k]), limits) for end in (low, high))
        estimates[name] = Estimate(value=float(value[k]), low=next(ends), high=next(ends))
    return estimates


def _within(end: float, value: float, limits: tuple[float | None, float | None]) -> float:
    low, high = limits
    if low is not None:  # rounding may put the score itself a little outside
        end = max(end, min(low, value))
    return end if high is None else min(end, max(high, value))


def bootstrap_deviations(drawn: Array, variance: SeedVariance | None, seed: int) -> Array:
    """Return deviations (S,K) of scores (S,K), or of differences, from their expectation.

    The replicates are centered on their own mean, because CIDEr needs it: a resample holds some
    images twice, which changes document frequencies and shifts all replicates to one side, as no
    fresh sample of images would. Percentile intervals inherit that shift; basic and BCa intervals
    treat it as bias and move as far to the other side.

    With several seeds, their standard error times Student's t is added, because a few values
    determine their own variance poorly.
    """
    deviations: Array = drawn - drawn.mean(axis=0)
    if variance is not None:
        draws = t_draws(variance.dof, len(drawn), seed)
        deviations = deviations + draws[:, None] * variance.standard_error  # (S,1) * (K)
    return deviations


def percentile_interval(drawn: Array, level: float) -> tuple[Array, Array]:
    """Return the lower (K) and upper (K) ends of the central `level` of values (S,K).

    Raises:
        PrefixcapError: If the level is not between 0 and 1.
    """
    check_level(level)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


def check_comparable(one: Statistic | Replicates, other: Statistic | Replicates) -> None:
    """Check that two have the same scores of the same images in the same order.

    Raises:
        PrefixcapError: If they do not; an image that only one has is named.
    """
    if one.names != other.names:
        raise PrefixcapError(
            f"only the same scores can be compared, not {', '.join(one.names)} "
            f"and {', '.join(other.names)}"
        )
    if one.images != other.images:
        lacking = set(one.images) ^ set(other.images)
        reason = f"{next(iter(lacking))!r} is in one only" if lacking else "their order differs"
        raise PrefixcapError(f"only scores of the same images can be compared: {reason}")


def check_resamples(one: Replicates, other: Replicates) -> None:
    """Raise an error if two cells were not computed on the same resamples."""
    if one.seed != other.seed or len(one.drawn) != len(other.drawn):
        raise PrefixcapError(
            "only the same resamples can be compared, not "
            f"{len(one.drawn)} of seed {one.seed} and "
            f"{len(other.drawn)} of seed {other.seed}"
        )


def check_level(level: float) -> None:
    """Raise an error if a confidence level is not between 0 and 1."""
    if not 0 < level < 1:
        raise PrefixcapError(f"the level must be between 0 and 1, not {level}")
