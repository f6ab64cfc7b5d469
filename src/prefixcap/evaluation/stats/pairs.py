"""Comparisons of many pairs of cells, with the variance between seeds pooled over the table."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np

from prefixcap.evaluation.stats.base import Array, Ints
from prefixcap.evaluation.stats.estimates import Difference
from prefixcap.evaluation.stats.replicates import (
    Replicates,
    check_comparable,
    check_level,
    check_resamples,
)
from prefixcap.evaluation.stats.seeds import (
    SeedVariance,
    pooled_paired_variance,
    pooled_variance,
    t_draws,
)
from prefixcap.evaluation.stats.tails import p_values


@attrs.frozen(kw_only=True, eq=False)
class PairwiseDifferences:
    """The differences of M pairs of cells.

    Attributes:
        names: The names of the K scores.
        first: (M), the index of each pair's first cell.
        second: (M).
        value: (M,K), first minus second, of the means over seeds.
        low: (M,K), the lower end of the confidence interval.
        high: (M,K).
        p: (M,K), the two-sided p-value of each pair alone.
        level: The confidence level.
    """

    names: tuple[str, ...]
    first: Ints
    second: Ints
    value: Array
    low: Array
    high: Array
    p: Array
    level: float

    def difference(self, pair: int, score: int, adjusted: float) -> Difference:
        """Return the difference of one pair in one score, by their indices."""
        arrays = (self.value, self.low, self.high, self.p)
        value, low, high, p = (float(array[pair, score]) for array in arrays)
        return Difference(
            value=value, low=low, high=high, p=p, adjusted=float(adjusted), level=self.level
        )


@attrs.frozen(kw_only=True, eq=False)
class CellTable:
    """The cells of a table, with the variance between seeds pooled over all of them.

    The variance is pooled because two or three seeds determine their own poorly. If a cell's (or a
    pair's) own variance is larger, it is used instead, so that the variance of an unstable training
    is not underestimated. The degrees of freedom are always those of the pooled variance.

    Attributes:
        replicates: The replicates of each cell.
        fixed: Whether a cell has no seeds, such as a baseline without a model.
    """

    replicates: Sequence[Replicates]
    fixed: Sequence[bool]

    def __attrs_post_init__(self) -> None:
        for other in self.replicates:
            check_comparable(self.replicates[0], other)
            check_resamples(self.replicates[0], other)

    @property
    def seeds(self) -> list[int]:
        """The number of seeds of each cell, 0 if it is fixed."""
        pairs = zip(self.replicates, self.fixed, strict=True)
        return [0 if fixed else len(each.observed) for each, fixed in pairs]

    def seed_variance(self, cell: int) -> SeedVariance | None:
        """Return the variance of a cell's mean over seeds; None if no cell has two seeds."""
        variance, dof = self._pooled()
        if not dof or not self.seeds[cell]:
            return None
        return SeedVariance(standard_error=np.sqrt(self._of_mean(cell, variance)), dof=dof)

    def pairs(self, *, level: float = 0.95) -> PairwiseDifferences:
        """Compare all pairs, each cell with those after it; raises as `compare`."""
        first, second = np.triu_indices(len(self.replicates), 1)
        return self.compare(first, second, level=level)

    def compare(self, first: Ints, second: Ints, *, level: float = 0.95) -> PairwiseDifferences:
        """Compare pairs of cells by bootstrap over images, on the same resamples (Koehn 2004).

        Args:
            first: (M), the index of each pair's first cell.
            second: (M).
            level: The confidence level.

        Raises:
            PrefixcapError: If the level is not between 0 and 1.
        """
        check_level(level)
        used = np.unique([first, second])
        # (used,K,S): resamples last, where p-values and quantiles reduce them
        deviations = np.stack(
            [(r.drawn - r.drawn.mean(axis=0)).T for r in (self.replicates[n] for n in used)]
        )
        means = np.stack([r.observed.mean(axis=0) for r in self.replicates])  # (cells,K)
        tested = np.zeros((3, len(first), means.shape[1]))
        # one cell with all its partners at a time: all pairs at once would not fit into memory
        order = np.argsort(first, kind="stable")
        cells, starts = np.unique(first[order], return_index=True)
        for cell, own in zip(cells, np.split(order, starts[1:]), strict=True):
            for pairs, variance in self._by_variance(cell, own, second):
                value = means[cell] - means[second[pairs]]
                one, others = np.searchsorted(used, cell), np.searchsorted(used, second[pairs])
                drawn = deviations[one] - deviations[others]
                tested[:, pairs] = self._test(value, drawn, variance, level)
        return PairwiseDifferences(
            names=self.replicates[0].names,
            first=first,
            second=second,
            value=means[first] - means[second],
            low=tested[0],
            high=tested[1],
            p=tested[2],
            level=level,
        )

    def _test(
        self, value: Array, drawn: Array, variance: SeedVariance | None, level: float
    ) -> Array:
        """Return low, high and p (3,M,K) of differences (M,K) with deviations (M,K,S)."""
        error = drawn.std(axis=-1, ddof=1)
        if variance is not None:
            draws = t_draws(variance.dof, drawn.shape[-1], self.replicates[0].seed)
            drawn = drawn + variance.standard_error[..., None] * draws  # (M,K,1) * (S)
        bounds = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=-1)
        images = len(self.replicates[0].images)
        return np.stack([*(value + bounds), p_values(drawn, value, error, images, variance)])

    def _by_variance(
        self, cell: int, pairs: Ints, second: Ints
    ) -> list[tuple[Ints, SeedVariance | None]]:
        """Split a cell's pairs by how the variance of their seeds is estimated."""
        seeds = np.array(self.seeds)
        # equal numbers of seeds are paired seed by seed, which cancels a seed's effect on both
        paired = (seeds[second[pairs]] == seeds[cell]) & (seeds[cell] > 1)
        groups: list[tuple[Ints, SeedVariance | None]] = []
        if paired.any():
            groups.append((pairs[paired], self._paired(cell, second[pairs[paired]])))
        rest = pairs[~paired]
        variance, dof = self._pooled()
        if not dof or not len(rest):
            return [*groups, (rest, None)]
        own = self._of_mean(cell, variance)
        error = np.sqrt([own + self._of_mean(other, variance) for other in second[rest]])
        return [*groups, (rest, SeedVariance(standard_error=error, dof=dof))]

    def _paired(self, cell: int, others: Ints) -> SeedVariance:
        seeds = self.seeds[cell]
        table = [r.observed for r, n in zip(self.replicates, self.seeds, strict=True) if n == seeds]
        pooled, dof = pooled_paired_variance(table)
        each = np.stack([self.replicates[i].observed for i in others])  # (M,seeds,K)
        own = (self.replicates[cell].observed - each).var(axis=1, ddof=1)
        return SeedVariance(standard_error=np.sqrt(np.maximum(own, pooled) / seeds), dof=dof)

    def _pooled(self) -> tuple[Array, int]:
        varying = [r.observed for r, n in zip(self.replicates, self.seeds, strict=True) if n]
        return pooled_variance(varying)

    def _of_mean(self, cell: int, variance: Array) -> Array:
        """Return the variance (K) of a cell's mean over its seeds."""
        seeds = self.seeds[cell]
        if not seeds:
            return np.zeros_like(variance)
        own = self.replicates[cell].observed.var(axis=0, ddof=1) if seeds > 1 else variance
        of_mean: Array = np.maximum(own, variance) / seeds
        return of_mean
