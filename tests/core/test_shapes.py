from __future__ import annotations

import pytest

from prefixcap.util.shapes import Maybe, mismatch

SHAPE = {"rows": [{"cell": str, "scores": {str: float}, "range": Maybe((float, float))}], "n": int}
ROW = {"cell": "a", "scores": {"CIDEr": 1.5, "Length": 3}, "range": [0, 1.5]}


@pytest.mark.parametrize(
    ("rows", "n", "found"),
    [
        ([ROW, {"cell": "b", "scores": {}}], 1, None),
        ([], 1, None),
        ([{**ROW, "range": None, "more": 5}], 1, None),
        (None, 1, "'rows' is None"),
        ([5], 1, "'rows', item 1 is 5"),
        ([ROW, {"cell": "b"}], 1, "'rows', item 2 has no 'scores'"),
        ([{**ROW, "cell": 5}], 1, "'rows', item 1, 'cell' is 5"),
        ([{**ROW, "scores": {"A": "x"}}], 1, "'rows', item 1, 'scores', 'A' is 'x'"),
        ([{**ROW, "scores": {"A": True}}], 1, "'rows', item 1, 'scores', 'A' is True"),
        ([{**ROW, "range": [1]}], 1, "'rows', item 1, 'range' has 1 values, not 2"),
        ([{**ROW, "range": [1, []]}], 1, "'rows', item 1, 'range', item 2 is []"),
        ([], 1.5, "'n' is 1.5"),
        ([], True, "'n' is True"),
    ],
)
def test_where_data_has_another_shape_is_said(rows: object, n: object, found: str | None) -> None:
    assert mismatch({"rows": rows, "n": n}, SHAPE) == found


def test_data_of_another_kind() -> None:
    assert mismatch([], SHAPE) == "it is []"
    assert mismatch({"n": 1}, SHAPE) == "it has no 'rows'"
    assert mismatch({str(n): n for n in range(10**5)}, {str: str}) == "'0' is 0"
