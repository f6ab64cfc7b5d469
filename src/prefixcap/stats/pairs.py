"""All pairs of a table's cells compared at once, with what seeds bring pooled over the table."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np

from prefixcap.stats.base import Array
from prefixcap.stats.replicates import Replicates, check_alike, check_level, check_resamples
from prefixcap.stats.seeds import Spread, pooled_paired_variance, pooled_variance, t_draws
from prefixcap.stats.tails import p_values


@attrs.frozen(kw_only=True, eq=False)
class Pairs:
    """The differences of all pairs of R cells, M = R (R - 1) / 2.

    Attributes:
        names: what the K scores are called.
        first: (M), the number of each pair's first cell, which comes before the second.
        second: (M).
        value: (M,K), first minus second; of the means over seeds.
        low: (M,K), the lower end of the interval.
        high: (M,K).
        p: (M,K), two-sided, of no difference; for this pair alone.
        level: the confidence level of the intervals.
    """

    names: tuple[str, ...]
    first: np.ndarray
    second: np.ndarray
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

    def spread(self, cell: int) -> Spread | None:
        """Returns what seeds bring to a cell's mean; None where no cell of the table has two."""
        variance, freedom = self._within()
        if not freedom or not self.seeds[cell]:
            return None
        return Spread(error=np.sqrt(self._of_mean(cell, variance)), freedom=freedom)

    def pairs(self, *, level: float = 0.95) -> Pairs:
        """Compares all pairs by bootstrap over images, on the same resamples.

        For two cells with the same number of seeds this is `paired_bootstrap`.

        Raises:
            PrefixcapError: the level is out of range.
        """
        check_level(level)
        errors = np.stack([(r.drawn - r.drawn.mean(axis=0)).T for r in self.replicates])
        means = np.stack([r.observed.mean(axis=0) for r in self.replicates])
        first, second = np.triu_indices(len(means), 1)
        shape = (3, len(first), means.shape[1])
        found = np.zeros(shape)
        for cell in range(len(means) - 1):
            for others, spread in self._spreads(cell):
                at = _place(cell, others, len(means))
                value = means[cell] - means[others]
                moved = errors[cell] - errors[others]
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

    def _tested(self, value: Array, moved: Array, spread: Spread | None, level: float) -> Array:
        """Returns the ends of intervals and p-values (3,M,K) of differences (M,K)."""
        error = moved.std(axis=-1, ddof=1)
        if spread is not None:
            draws = t_draws(spread.freedom, moved.shape[-1], self.replicates[0].seed)
            moved = moved + spread.error[..., None] * draws
        ends = np.quantile(moved, [(1 - level) / 2, (1 + level) / 2], axis=-1)
        images = len(self.replicates[0].images)
        return np.stack([*(value + ends), p_values(moved, value, error, images, spread)])

    def _spreads(self, cell: int) -> list[tuple[np.ndarray, Spread | None]]:
        """Parts the cells after a cell by how the seeds of their differences are known."""
        later = np.arange(cell + 1, len(self.seeds))
        alike = [self.seeds[other] == self.seeds[cell] > 1 for other in later]
        found: list[tuple[np.ndarray, Spread | None]] = []
        if any(alike):
            found.append((later[alike], self._paired(cell, later[alike])))
        rest = later[~np.array(alike, dtype=bool)]
        variance, freedom = self._within()
        if not freedom:
            return [*found, (rest, None)]
        error = [self._of_mean(cell, variance) + self._of_mean(i, variance) for i in rest]
        if error:
            found.append((rest, Spread(error=np.sqrt(np.stack(error)), freedom=freedom)))
        return found

    def _paired(self, cell: int, others: np.ndarray) -> Spread:
        seeds = self.seeds[cell]
        table = [r.observed for r, n in zip(self.replicates, self.seeds, strict=True) if n == seeds]
        pooled, freedom = pooled_paired_variance(table)
        each = np.stack([self.replicates[i].observed for i in others])
        own = (self.replicates[cell].observed - each).var(axis=1, ddof=1)
        return Spread(error=np.sqrt(np.maximum(own, pooled) / seeds), freedom=freedom)

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


def _place(cell: int, others: np.ndarray, cells: int) -> np.ndarray:
    """Returns where the pairs of a cell and later ones stand in the order of all pairs."""
    return np.asarray(cell * cells - cell * (cell + 1) // 2 + others - cell - 1)
