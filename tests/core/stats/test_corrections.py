from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefixcap.errors import PrefixcapError
from prefixcap.evaluation.stats import benjamini_hochberg, holm

values = st.lists(st.floats(0, 1), min_size=1, max_size=20)


def test_holm_by_hand() -> None:
    assert holm([0.04, 0.01, 0.03, 0.005]) == pytest.approx([0.06, 0.03, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1, 1]


def test_benjamini_hochberg_by_hand() -> None:
    assert benjamini_hochberg([0.04, 0.01, 0.03, 0.005]) == pytest.approx([0.04, 0.02, 0.04, 0.02])


@given(values)
def test_benjamini_hochberg_is_its_definition(ps: list[float]) -> None:
    ranked = [(rank, p) for rank, p in enumerate(sorted(ps), 1)]
    expected = [min(len(ps) * q / rank for rank, q in ranked if q >= p) for p in ps]
    assert benjamini_hochberg(ps) == pytest.approx(expected)


@given(values)
def test_corrections_only_raise_and_keep_the_order(result: list[float]) -> None:
    for adjusted in (holm(result), benjamini_hochberg(result)):
        assert all(p <= q + 1e-12 and q <= 1 for p, q in zip(result, adjusted, strict=True))
        ranked = [q for _, q in sorted(zip(result, adjusted, strict=True))]
        assert ranked == sorted(ranked)
    pairs = zip(benjamini_hochberg(result), holm(result), strict=True)
    assert all(bh <= h + 1e-12 for bh, h in pairs)


def test_nothing_to_correct() -> None:
    assert holm([]) == benjamini_hochberg([]) == []


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_an_invalid_p_value_is_an_error(value: float) -> None:
    with pytest.raises(PrefixcapError, match="is not a p-value"):
        holm([0.5, value])
