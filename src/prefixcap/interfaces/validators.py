"""attrs validators for the settings of components."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import attrs

from prefixcap.errors import PrefixcapError, nearest, shown

Validator = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def finite(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Validate that a number is finite."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{attribute.name} must be a finite number, not {value}")


def at_least(minimum: float) -> Validator:
    """Return a validator for finite numbers of at least `minimum`."""
    return _in_range(lambda value: value >= minimum, f"at least {minimum}")


def above(minimum: float) -> Validator:
    """Return a validator for finite numbers greater than `minimum`."""
    return _in_range(lambda value: value > minimum, f"greater than {minimum}")


def between(minimum: float, maximum: float) -> Validator:
    """Return a validator for numbers from `minimum` to `maximum`, both included."""
    return _in_range(lambda value: minimum <= value <= maximum, f"between {minimum} and {maximum}")


def _in_range(contains: Callable[[float], bool], description: str) -> Validator:
    def check(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        finite(_, attribute, value)
        if value is not None and not contains(value):
            raise ValueError(f"{attribute.name} must be {description}, not {value}")

    return check


def one_of(choices: Collection[str]) -> Validator:
    """Return a validator for one of a few words."""

    def check(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value not in choices:
            raise ValueError(f"{attribute.name} cannot be {value!r}{nearest(str(value), choices)}")

    return check


def path_text(_: Any, attribute: attrs.Attribute[Any], value: str) -> None:
    """Validate that the operating system takes a text for a path, which need not exist."""
    try:
        Path(value).expanduser().exists()
    except (OSError, RuntimeError) as error:  # too long, not permitted; no such user
        reason = getattr(error, "strerror", None) or "the folder that ~ names is not known"
        raise PrefixcapError(
            f"{attribute.name}: {shown(value)} cannot be read: {reason}"
        ) from error
