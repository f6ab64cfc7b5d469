from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from prefixcap.errors import nearest


def test_the_nearest_name_comes_before_the_known_ones() -> None:
    known = ["top-p", "beam", "greedy"]
    assert nearest("beem", known) == "; did you mean 'beam'? known: beam, greedy, top-p"


def test_a_far_name_gets_no_guess() -> None:
    assert nearest("xyzzy", ["beam", "greedy"]) == "; known: beam, greedy"


def test_without_known_names_there_is_no_hint() -> None:
    assert nearest("beam", []) == ""


def test_at_most_ten_known_names_are_listed() -> None:
    known = [f"name-{number:02}" for number in range(13)]
    hint = nearest("name-12", known)
    assert hint.startswith("; did you mean 'name-12'? known: name-00, ")
    assert hint.endswith("name-09 and 3 more")


@given(st.lists(st.text("abcdef-", min_size=1), min_size=1), st.data())
def test_a_known_name_is_its_own_nearest(known: list[str], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(known))
    assert f"did you mean {name!r}?" in nearest(name, known)
