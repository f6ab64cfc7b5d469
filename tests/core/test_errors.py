from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefixcap.errors import (
    LONGEST_SENTENCE,
    SYNONYMS,
    PrefixcapError,
    closest,
    describe,
    nearest,
    shown,
)
from prefixcap.interfaces.kinds import KINDS
from prefixcap.plugin.registry import Registry
from prefixcap.study.definition.options import OPTIONS
from prefixcap.study.definition.study import CORRECTIONS
from prefixcap.training.config import TrainingConfig
from prefixcap.util.runtime import DEVICES, DTYPES


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


def test_no_sentence_is_longer_than_a_page() -> None:
    names = [f"{number}.jpg" for number in range(40_000)]
    assert len(str(PrefixcapError(f"one of {names}"))) == LONGEST_SENTENCE
    sentence = str(PrefixcapError(f"begin {'x' * 5000} end"))
    assert (sentence[:6], sentence[-4:]) == ("begin ", " end")
    assert len(nearest("7.jpeg", ["x" * 10**6, "7.jpg"])) < 200
    assert "did you mean '39999.jpg'" in nearest("39999.jpg", names)


def test_a_value_is_shown_whatever_its_size() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    assert shown(deep) == "a list that is too large to show"
    assert shown(1 << 20_000) == "a int that is too large to show"
    for value in ("'" * 10**7, list(range(1000)), {"a": "b" * 1000}):
        assert len(shown(value)) <= 80
    assert shown("it's") == repr("it's")


@given(st.lists(st.text("abcdef-", min_size=1), min_size=1), st.data())
def test_a_known_name_is_its_own_nearest(known: list[str], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(known))
    assert f"did you mean {name!r}?" in nearest(name, known)


@pytest.mark.parametrize(
    ("value", "names", "meant"),
    [
        ("CIDEr", ["bleu", "cider"], "cider"),
        ("TOP_P", ["top-k", "top-p"], "top-p"),
        ("nucleus", ["min-p", "top-p"], "top-p"),
        ("lr", ["lm_lr_scale", "learning_rate"], "learning_rate"),
        ("gpu", ["auto", "cpu", "cuda"], "cuda"),
        ("--Prefix_Len", ["--prefix-len", "--prune"], "--prefix-len"),
        ("", ["beam"], None),
        ("-", ["beam"], None),
    ],
)
def test_case_and_synonyms_come_before_spelling(
    value: str, names: list[str], meant: str | None
) -> None:
    assert closest(value, names) == meant


def test_every_synonym_means_something() -> None:
    registry = Registry()
    known = {name for kind in KINDS for name in registry.names(kind)} | {*DTYPES, *DEVICES}
    known |= {*CORRECTIONS, *OPTIONS, *(field.name for field in attrs.fields(TrainingConfig))}
    for plugin in registry.plugins:
        known |= {field.name for each in plugin.components for field in attrs.fields(each)}
    assert {name for meant in SYNONYMS.values() for name in meant} <= known
    assert all(word.isalnum() and word == word.casefold() for word in SYNONYMS)


def silent(*methods: str) -> BaseException:
    """Return an error of which some methods end the process."""

    def leave(_: object) -> str:
        raise SystemExit

    error: BaseException = type("Silent", (Exception,), dict.fromkeys(methods, leave))("no")
    return error


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: ValueError("a\n  b"), "ValueError: a b"),
        (lambda: SystemExit(3), "SystemExit: 3"),
        (lambda: ValueError(), "ValueError"),
        (lambda: silent("__str__"), "Silent: Silent('no')"),
        (lambda: silent("__str__", "__repr__"), "Silent, whose text cannot be shown"),
        (lambda: KeyError("x" * 10_000), "KeyError: 'xxx"),
    ],
)
def test_any_error_has_a_short_text(make: Callable[[], BaseException], text: str) -> None:
    assert describe(make()).startswith(text)
    assert len(describe(make())) < 600
