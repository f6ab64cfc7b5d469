"""All pairs of a table's cells compared at once, with what seeds bring pooled over the table."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np

from prefixcap.evaluation.stats.base import Array, Ints
from prefixcap.evaluation.stats.replicates import (
    Replicates,
    check_alike,
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
class Pairs:
    """The differences of M pairs of cells.

    Attributes:
        names: what the K scores are called.
        first: (M), the number of each pair's first cell.
        second: (M).
        value: (M,K), first minus second; of the means over seeds.
        low: (M,K), the lower end of the interval.
        high: (M,K).
        p: (M,K), two-sided, of no difference; for this pair alone.
        level: the confidence level of the intervals.
    """

    names: tuple[str, ...]
    first: Ints
    second: Ints
    value: Array
    low: Array
    high: Array
    p: Array
    level: float


@attrs.frozen(kw_only=True, eq=False)
class Cells:
    """The cells of a table, and what their seeds say together.

    Where cells have several seeds, the seeds' variance is pooled over the table, because two or
    three seeds of a cell say next to nothing about its own; where a cell's own (or a pair's own) is
    larger than the pooled one, it is taken, so that a cell whose training is less stable than the
    others' does not pass for a stable one. Degrees of freedom are those of the pooled variance.

    Attributes:
        replicates: each cell's.
        fixed: whether a cell has no seeds to vary, as a caption that no model made.
    """

    replicates: Sequence[Replicates]
    fixed: Sequence[bool]

    def __attrs_post_init__(self) -> None:
        for other in self.replicates:
            check_alike(self.replicates[0], other)
            check_resamples(self.replicates[0], other)

    @property
    def seeds(self) -> list[int]:
        """Each cell's number of seeds; 0 where it is fixed."""
        pairs = zip(self.replicates, self.fixed, strict=True)
        return [0 if fixed else len(each.observed) for each, fixed in pairs]

    def spread(self, cell: int) -> SeedVariance | None:
        """Returns what seeds bring to a cell's mean; None where no cell of the table has two."""
        variance, freedom = self._within()
        if not freedom or not self.seeds[cell]:
            return None
        return SeedVariance(error=np.sqrt(self._of_mean(cell, variance)), freedom=freedom)

    def pairs(self, *, level: float = 0.95) -> Pairs:
        """Compares all pairs, each cell with those after it; raises as `compare`."""
        first, second = np.triu_indices(len(self.replicates), 1)
        return self.compare(first, second, level=level)

    def compare(self, first: Ints, second: Ints, *, level: float = 0.95) -> Pairs:
        """Compares pairs of cells by bootstrap over images, on the same resamples.

        For two cells with the same number of seeds this is `paired_bootstrap`.

        Args:
            first: (M), the numbers of the pairs' first cells.
            second: (M), of the others.
            level: the confidence level.

        Raises:
            PrefixcapError: the level is out of range.
        """
        check_level(level)
        errors = np.stack([(r.drawn - r.drawn.mean(axis=0)).T for r in self.replicates])
        means = np.stack([r.observed.mean(axis=0) for r in self.replicates])
        found = np.zeros((3, len(first), means.shape[1]))
        for cell in np.unique(first):
            for at, spread in self._spreads(cell, np.flatnonzero(first == cell), second):
                value = means[cell] - means[second[at]]
                moved = errors[cell] - errors[second[at]]
                found[:, at] = self._tested(value, moved, spread, level)
        return Pairs(
            names=self.replicates[0].names,
            first=first,
            second=second,
            value=means[first] - means[second],
            low=found[0],
            high=found[1],
            p=found[2],
            level=level,
        )

    def _tested(
        self, value: Array, moved: Array, spread: SeedVariance | None, level: float
    ) -> Array:
        """Returns the ends of intervals and p-values (3,M,K) of differences (M,K)."""
        error = moved.std(axis=-1, ddof=1)
        if spread is not None:
            draws = t_draws(spread.freedom, moved.shape[-1], self.replicates[0].seed)
            moved = moved + spread.error[..., None] * draws
        ends = np.quantile(moved, [(1 - level) / 2, (1 + level) / 2], axis=-1)
        images = len(self.replicates[0].images)
        return np.stack([*(value + ends), p_values(moved, value, error, images, spread)])

    def _spreads(
        self, cell: int, pairs: Ints, second: Ints
    ) -> list[tuple[Ints, SeedVariance | None]]:
        """Parts a cell's pairs by how the seeds of their differences are known."""
        seeds = np.array(self.seeds)
        alike = (seeds[second[pairs]] == seeds[cell]) & (seeds[cell] > 1)
        found: list[tuple[Ints, SeedVariance | None]] = []
        if alike.any():
            found.append((pairs[alike], self._paired(cell, second[pairs[alike]])))
        rest = pairs[~alike]
        variance, freedom = self._within()
        if not freedom or not len(rest):
            return [*found, (rest, None)]
        own = self._of_mean(cell, variance)
        error = np.sqrt([own + self._of_mean(other, variance) for other in second[rest]])
        return [*found, (rest, SeedVariance(error=error, freedom=freedom))]

    def _paired(self, cell: int, others: Ints) -> SeedVariance:
        seeds = self.seeds[cell]
        table = [r.observed for r, n in zip(self.replicates, self.seeds, strict=True) if n == seeds]
        pooled, freedom = pooled_paired_variance(table)
        each = np.stack([self.replicates[i].observed for i in others])
        own = (self.replicates[cell].observed - each).var(axis=1, ddof=1)
        return SeedVariance(error=np.sqrt(np.maximum(own, pooled) / seeds), freedom=freedom)

    def _within(self) -> tuple[Array, int]:
        several = [r.observed for r, n in zip(self.replicates, self.seeds, strict=True) if n]
        return pooled_variance(several)

    def _of_mean(self, cell: int, variance: Array) -> Array:
        """Returns the seeds' variance (K) of a cell's mean."""
        seeds = self.seeds[cell]
        if not seeds:
            return np.zeros_like(variance)
        own = self.replicates[cell].observed.var(axis=0, ddof=1) if seeds > 1 else variance
        found: Array = np.maximum(own, variance) / seeds
        return found
