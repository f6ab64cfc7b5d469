"""Pairing of the rows of two studies for comparison."""

from __future__ import annotations

from collections.abc import Sequence

from prefixcap.study.analysis.rows import FIELDS, TableRow


def match_rows(
    one: Sequence[TableRow], two: Sequence[TableRow]
) -> tuple[list[tuple[TableRow, TableRow]], tuple[list[str], list[str]]]:
    """Pair the rows of two studies that are equal except where the studies themselves differ.

    A field is ignored if it has one value in each study and these differ.

    Returns:
        The pairs, and the labels of the rows of each study without a counterpart.
    """

    def values(rows: Sequence[TableRow], field: str) -> set[str]:
        return {str(row.fields[field]) for row in rows if not row.baseline}

    compared = []
    for field in FIELDS:
        first, second = values(one, field), values(two, field)
        if first == second or len(first) != 1 or len(second) != 1:
            compared.append(field)

    def key(row: TableRow) -> tuple[str, ...]:
        return (row.label,) if row.baseline else tuple(str(row.fields[f]) for f in compared)

    counterparts = {key(row): row for row in two}
    pairs = [(row, counterparts[key(row)]) for row in one if key(row) in counterparts]
    matched = [{row.label for row in side} for side in zip(*pairs, strict=True)] or [set(), set()]
    first_alone, second_alone = (
        [row.label for row in rows if row.label not in labels]
        for rows, labels in zip((one, two), matched, strict=True)
    )
    return pairs, (first_alone, second_alone)
