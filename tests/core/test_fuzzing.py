"""A part of what `tools/fuzz.py` tries: changed files and specs give a result or a sentence."""

from __future__ import annotations

from random import Random

import pytest
from fuzz import finding_of
from fuzzing.readers import Readers
from fuzzing.specs import Specs
from hypothesis import given, settings
from hypothesis import strategies as st

from prefixcap.errors import PrefixcapError

Target = Readers | Specs


@pytest.fixture(scope="module", params=[Readers, Specs])
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Target:
    made: Target = request.param(tmp_path_factory.mktemp("fuzzing"))
    return made


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32))
def test_changed_files_and_specs_give_a_result_or_a_sentence(target: Target, seed: int) -> None:
    try:
        target.run(Random(seed))
    except PrefixcapError as error:
        assert finding_of(error) is None  # noqa: PT017


def test_what_counts_as_a_failure() -> None:
    assert finding_of(PrefixcapError("x: no such file")) is None
    for error in (PrefixcapError(""), ValueError("x"), RecursionError(), SystemExit(2)):
        try:
            raise error
        except BaseException as caught:
            found = finding_of(caught)
        assert found is not None
        assert found["kind"].startswith(type(error).__name__)
