from __future__ import annotations

import math
from typing import Any, ClassVar

import attrs
import pytest

from prefixcap.interfaces.component import Component
from prefixcap.interfaces.kinds import KINDS
from prefixcap.interfaces.validators import above, at_least, between, one_of


@attrs.frozen(kw_only=True)
class Limits(Component):
    kind: ClassVar[str] = "decoder"
    name: ClassVar[str] = "limits"
    low: float = attrs.field(default=1.0, validator=at_least(1))
    high: float = attrs.field(default=1.0, validator=above(0))
    share: float = attrs.field(default=0.5, validator=between(0, 1))
    way: str = attrs.field(default="mean", validator=one_of(("mean", "gnmt", "none")))
    maybe: float | None = attrs.field(default=None, validator=at_least(1))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"low": 0.5}, "low must be at least 1, not 0.5"),
        ({"high": 0.0}, "high must be greater than 0, not 0.0"),
        ({"share": 1.5}, "share must be between 0 and 1, not 1.5"),
        ({"share": -0.1}, "share must be between 0 and 1, not -0.1"),
        ({"maybe": 0.0}, "maybe must be at least 1, not 0.0"),
        (
            {"way": "gmnt"},
            "way cannot be 'gmnt'; did you mean 'gnmt'? known: gnmt, mean, none",
        ),
    ],
)
def test_a_value_out_of_range_gets_a_sentence(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  (the whole sentence is compared)
        Limits(**settings)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    "settings",
    [{"low": 1}, {"high": 1e-9}, {"share": 0}, {"share": 1}, {"maybe": None}, {"maybe": 1}],
)
def test_the_edges_of_a_range_belong_to_it(settings: dict[str, Any]) -> None:
    Limits(**settings)


@pytest.mark.parametrize("field", ["low", "high", "share"])
def test_nan_is_refused(field: str) -> None:
    for value in (math.nan, math.inf, -math.inf):
        with pytest.raises(ValueError, match=f"{field} must be a finite number, not {value}"):
            Limits(**{field: value})


def test_settings_are_keywords_and_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        Limits(2.0)  # type: ignore[misc]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Limits().low = 2.0  # type: ignore[misc]


def test_every_kind_is_registered_under_its_name() -> None:
    assert all(base.kind == kind for kind, base in KINDS.items())
    kinds = {"encoder", "bridge", "mapper", "lm", "tuning", "prompt", "retriever", "decoder"}
    assert set(KINDS) == kinds | {"dataset", "metric", "launcher"}
