"""How numbers are written: with as many digits as the largest of their column needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from prefixcap.report.content import Cell


def digits(values: Iterable[float]) -> int:
    """Returns how many decimals a column of numbers is written with."""
    found = list(values)
    largest = max((abs(value) for value in found), default=0.0)
    if all(float(value).is_integer() for value in found) or largest >= 1000:
        return 0
    return 3 if largest < 10 else 2 if largest < 100 else 1


def columns(cells: Sequence[Cell]) -> dict[str, int]:
    """Returns the decimals of every score and fact of a table of cells."""
    return facts(
        {**{name: each.value for name, each in cell.scores.items()}, **cell.facts} for cell in cells
    )


def facts(lines: Iterable[Mapping[str, float]]) -> dict[str, int]:
    """Returns the decimals of every number of a table."""
    found: dict[str, list[float]] = {}
    for line in lines:
        for name, value in line.items():
            found.setdefault(name, []).append(value)
    return {name: digits(values) for name, values in found.items()}


def number(value: float | None, decimals: int = 3) -> str:
    """Writes a number; "" for none."""
    return "" if value is None else f"{value:,.{decimals}f}"


def counted(count: int, noun: str) -> str:
    """Writes how many there are of something whose plural ends in s."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def interval(low: float | None, high: float | None, decimals: int = 3) -> str:
    """Writes an interval; "" for none."""
    if low is None or high is None:
        return ""
    return f"[{number(low, decimals)}, {number(high, decimals)}]"


def probability(p: float) -> str:
    """Writes a p-value."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"
