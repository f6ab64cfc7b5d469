"""TODO."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Any

import attrs

Validator = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def finite(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Is an attrs validator for numbers that are numbers, and not infinite."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{attribute.name} must be a finite number, not {value}")


def at_least(minimum: float) -> Validator:
    """Makes an attrs validator for finite numbers of `minimum` or more."""

    def check(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        finite(_, attribute, value)
        if value is not None and not value >= minimum:
            raise ValueError(f"{attribute.name} must be at least {minimum}, not {value}")

    return check


def above(minimum: float) -> Validator:
    """Makes an attrs validator for finite numbers greater than `minimum`."""

    def check(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        finite(_, attribute, value)
        if value is not None and not value > minimum:
            raise ValueError(f"{attribute.name} must be greater than {minimum}, not {value}")

    return check


def between(minimum: float, maximum: float) -> Validator:
    """Makes an attrs validator for numbers from `minimum` to `maximum`, both included."""

    def check(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        finite(_, attribute, value)
        if value is not None and not minimum <= value <= maximum:
            raise ValueError(
                f"{attribute.name} must be between {minimum} and {maximum}, not {value}"
            )

    return check


def one_of(choices: Collection[str]) -> Validator:
    """Makes an attrs validator for one of a few words."""

    def check(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value not in choices:
            from prefixcap.errors import nearest

            raise ValueError(f"{attribute.name} cannot be {value!r}{nearest(str(value), choices)}")

    return check
