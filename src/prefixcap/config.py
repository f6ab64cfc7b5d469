"""A component is a frozen attrs config with a `name` and a `build()`."""

from __future__ import annotations

import math
from abc import ABC
from collections.abc import Callable, Collection, Sequence
from typing import Any, ClassVar

import attrs

Validator = Callable[[Any, "attrs.Attribute[Any]", Any], None]


@attrs.frozen(kw_only=True)
class Component(ABC):
    """The base of every config class; a kind's base class derives from it, and a plugin from that.

    Attributes:
        kind: what it is, such as "decoder"; set by the kind's base class.
        name: what it is called in the shell; set by each config class.
        version: changed whenever the same settings give other results, so that no artifact made
            by the older code is used again.
    """

    kind: ClassVar[str]
    name: ClassVar[str]
    version: ClassVar[str] = "1"

    def parts(self) -> Sequence[Component]:
        """Returns the components that its settings name by their specs.

        Their versions count to what features, models, captions and scores were made by, and so do
        the weights of the encoders and language models that a decoder or a metric names.

        Raises:
            PrefixcapError: a spec among the settings is wrong.
        """
        return ()

    def contents(self) -> Sequence[str]:
        """Returns digests of what else its settings name, such as the files of a folder.

        They too count to what features, models, captions and scores were made by.

        Raises:
            PrefixcapError: it is not there.
        """
        return ()


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
