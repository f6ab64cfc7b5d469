"""How numbers are formatted: with as many decimals as the largest of their column needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from prefixcap.evaluation.stats import Difference, Estimate
from prefixcap.report.content import ReportRow


def digits(values: Iterable[float]) -> int:
    """Return the number of decimals for a column of numbers."""
    column = list(values)
    largest = max((abs(value) for value in column), default=0.0)
    if all(float(value).is_integer() for value in column) or largest >= 1000:
        return 0
    return 3 if largest < 10 else 2 if largest < 100 else 1


def table_decimals(rows: Sequence[ReportRow]) -> dict[str, int]:
    """Return the number of decimals of every score and fact of a table."""
    return column_decimals(
        {**{name: each.value for name, each in row.scores.items()}, **row.facts} for row in rows
    )


def column_decimals(rows: Iterable[Mapping[str, float]]) -> dict[str, int]:
    """Return the number of decimals of every column of numbers."""
    by_name: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            by_name.setdefault(name, []).append(value)
    return {name: digits(values) for name, values in by_name.items()}


def number(value: float | None, decimals: int = 3) -> str:
    """Format a number; "" for None."""
    return "" if value is None else f"{value:,.{decimals}f}"


def significant(value: float | None) -> str:
    """Format a number with three significant digits; "" for None."""
    return "" if value is None else f"{value:#.3g}".rstrip(".")


def counted(count: int, noun: str) -> str:
    """Format a count of something whose plural ends in s."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def interval(score: Estimate | Difference, decimals: int = 3) -> str:
    """Format the interval of a score; "" if it has none."""
    if score.low is None or score.high is None:
        return ""
    return f"[{number(score.low, decimals)}, {number(score.high, decimals)}]"


def probability(p: float) -> str:
    """Format a p-value."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"
