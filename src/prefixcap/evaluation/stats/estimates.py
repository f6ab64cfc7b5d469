"""A score and a difference of two scores, each with its uncertainty."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True, repr=False)
class Estimate:
    """A score with its confidence interval.

    Attributes:
        value: The score, or its mean over seeds.
        low: The lower end of the interval; None if the score cannot be resampled.
        high: The upper end.
    """

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def bounds(self) -> tuple[float, float]:
        """The ends of the interval, both the value itself without one."""
        if self.low is None or self.high is None:
            return self.value, self.value
        return self.low, self.high

    def __repr__(self) -> str:
        interval = "" if self.low is None else f" [{self.low:.4g}, {self.high:.4g}]"
        return f"{self.value:.4g}{interval}"


@attrs.frozen(kw_only=True, repr=False)
class Difference:
    """The difference of two cells in one score, first minus second.

    Attributes:
        value: The difference, of the means over seeds.
        low: The lower end of its confidence interval, which is not corrected.
        high: The upper end.
        p: The two-sided p-value of this pair alone.
        adjusted: The p-value adjusted for all comparisons of the family.
        level: The confidence level.
    """

    value: float
    low: float
    high: float
    p: float
    adjusted: float
    level: float = 0.95

    @property
    def significant(self) -> bool:
        """Whether the adjusted p-value is at most 1 - level."""
        return self.adjusted <= 1 - self.level + 1e-12  # 1 - 0.95 is a little below 0.05

    def __neg__(self) -> Difference:
        return attrs.evolve(self, value=-self.value, low=-self.high, high=-self.low)

    def __repr__(self) -> str:
        verdict = "" if self.significant else ", not significant"
        interval = f"[{self.low:+.4g}, {self.high:+.4g}]"
        return f"{self.value:+.4g} {interval}, adjusted p = {self.adjusted:.2g}{verdict}"
