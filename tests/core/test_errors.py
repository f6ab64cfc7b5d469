from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from prefixcap.errors import nearest


def test_the_nearest_name_comes_before_all_known_ones() -> None:
    known = ["top-p", "beam", "greedy"]
    assert nearest("beem", known) == "; did you mean 'beam'? known: beam, greedy, top-p"


def test_a_far_name_gets_no_guess() -> None:
    assert nearest("xyzzy", ["beam", "greedy"]) == "; known: beam, greedy"


def test_where_nothing_is_known_nothing_is_said() -> None:
    assert nearest("beam", []) == ""


@given(st.lists(st.text("abcdef-", min_size=1), min_size=1), st.data())
def test_a_known_name_is_its_own_nearest(known: list[str], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(known))
    assert f"did you mean {name!r}?" in nearest(name, known)
