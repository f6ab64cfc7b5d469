"""The gap between texts and images, before and after the bridges of a study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from prefixcap.study.analysis.reader import SavedStudy

_TEXT = ("text", "image")
BEFORE = "before"
TITLES = {
    "mean distance": "means²",
    "mean distance per dimension": "means² / D",
    "residual per dimension": "residual² / D",
    **{f"{a} to {b} R@{k}": f"{a} → {b} R@{k}" for a, b in (_TEXT, _TEXT[::-1]) for k in (1, 5)},
}
"""The titles of columns that are not called as the measures are."""


@attrs.frozen(kw_only=True)
class GapRow:
    """The measures of one bridge, or before any, with one encoder.

    Attributes:
        columns: The bridge and, if the study has several, the encoder.
        numbers: The measures by the titles of their columns.
        place: Where it was measured, such as "200 val images".
    """

    columns: Mapping[str, str]
    numbers: Mapping[str, float]
    place: str


def gap_rows(study: SavedStudy) -> list[GapRow]:
    """Return a row per encoder before any bridge, and one per bridge, in the study's order.

    Which mapper or seed a model has does not matter to its bridge.
    """
    several = len({row["encoder"] for row in study.rows}) > 1
    rows: dict[tuple[str, str], GapRow] = {}
    for row in study.rows:
        gap = study.histories.get(row["model"], {}).get("gap")
        if gap is None:
            continue
        for name, part in ((BEFORE, "before"), (str(row["bridge"]), "after")):
            columns = {"bridge": name} | ({"encoder": str(row["encoder"])} if several else {})
            own = gap["measures"] if part == "after" else {}
            key = (str(row["encoder"]), name)
            rows.setdefault(key, _row(columns, {**gap[part], **own}, gap))
    return list(rows.values())


def _row(
    columns: Mapping[str, str], numbers: Mapping[str, float], gap: Mapping[str, Any]
) -> GapRow:
    return GapRow(
        columns=columns,
        numbers={TITLES.get(name, name): value for name, value in numbers.items()},
        place=f"{gap['images']:,} {gap['split']} images and their {gap['captions']:,} captions",
    )
