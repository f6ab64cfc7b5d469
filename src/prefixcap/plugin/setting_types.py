"""The types that settings may have, and how their values are read from text and JSON.

A text may stand for a value of every type. A union is read in a fixed order, whatever the order in
which it was declared: None, an integer, a number, a truth value, a word of a `Literal`, a list, and
last a text; a text in quotation marks is always a text.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from prefixcap.errors import nearest

_FALSE = {"false", "no", "off", "0"}
_TRUE = {"true", "yes", "on", "1"}
NOTHING = ("", "none", "None")
KNOWN = "bool, int, float, str, None, Path, a Literal, and unions and tuples of them"


class Written(str):
    """A value as it is written in a spec, perhaps in quotation marks."""

    __slots__ = ()


def quoted(text: str) -> str:
    """Return a text in quotation marks, with each one inside doubled."""
    return '"' + text.replace('"', '""') + '"'


def unquoted(value: str) -> str:
    """Return what a text written in a spec stands for."""
    if not isinstance(value, Written):
        return value
    inner = value[1:-1]
    is_quoted = len(value) > 1 and value[0] == value[-1] == '"'
    if is_quoted and '"' not in inner.replace('""', ""):
        return inner.replace('""', '"')
    return str(value)


def is_union(target: Any) -> bool:
    """Return whether a type is a union, such as `int | None`."""
    return get_origin(target) in (Union, UnionType)


def is_literal(target: Any) -> bool:
    """Return whether a type is a `Literal`."""
    return get_origin(target) is Literal


def is_tuple(target: Any) -> bool:
    """Return whether a type is a tuple of any length."""
    return get_origin(target) is tuple and target.__args__[-1] is Ellipsis


def is_known(target: Any) -> bool:
    """Return whether settings may have a type."""
    if is_union(target) or is_tuple(target):
        return all(is_known(part) for part in get_args(target) if part is not Ellipsis)
    if is_literal(target):
        return all(isinstance(value, bool | int | str | None) for value in get_args(target))
    if hasattr(target, "__supertype__"):  # typing.NewType
        return is_known(target.__supertype__)
    if isinstance(target, type) and issubclass(target, enum.Enum):
        return all(isinstance(member.value, str) for member in target)
    return target in READERS or target is NoneType


def read_union(value: object, target: Any, read: Callable[[Any, Any], Any]) -> object:
    """Read a value of a union; `read` reads one of a member.

    Raises:
        ValueError: If no member can have the value.
    """
    members = get_args(target)
    if type(value) in members:  # JSON data, whose types are known
        return value
    if NoneType in members and (value is None or (isinstance(value, str) and value in NOTHING)):
        return None
    ranked = sorted((member for member in members if member is not NoneType), key=_rank)
    if len(ranked) == 1:
        return read(value, ranked[0])
    for member in ranked:
        try:
            if member is int and float in members and isinstance(value, str):
                return int(value)  # "1.0" stays a number where numbers are allowed
            return read(value, member)
        except (ValueError, TypeError):
            continue
    raise ValueError(f"{value!r} is none of: {', '.join(map(_name, ranked))}")


def read_literal(value: object, target: Any) -> object:
    """Read one of the values of a `Literal`.

    Raises:
        ValueError: If it is none of them.
    """
    choices = get_args(target)
    for choice in choices:
        if type(value) is type(choice) and value == choice:
            return choice
    if isinstance(value, str):
        for choice in choices:
            is_text = isinstance(choice, str)
            if (unquoted(value) if is_text else value.lower()) == (
                choice if is_text else str(choice).lower()
            ):
                return choice
    raise ValueError(f"cannot be {value!r}{nearest(str(value), map(str, choices))}")


def _rank(member: Any) -> int:
    order = (int, float, bool)
    if member in order:
        return order.index(member)
    return 9 if member is str else 8 if member is Path else 4 if is_tuple(member) else 3


def _name(member: Any) -> str:
    names = {int: "an integer", float: "a number", bool: "a truth value", str: "text"}
    return names.get(member, str(member))


def _boolean(value: object, _: object) -> bool:
    text = str(value).lower()
    if text not in _TRUE | _FALSE:
        raise ValueError(f"{value!r} is neither true nor false")
    return text in _TRUE


def _integer(value: object, _: object) -> int:
    try:
        number = float(value)  # type: ignore[arg-type]
        is_integer = not isinstance(value, bool) and number == int(number)
    except (TypeError, ValueError, OverflowError):
        is_integer = False
    if not is_integer:
        raise ValueError(f"{value!r} is not an integer")
    try:
        return int(value)  # type: ignore[call-overload, no-any-return]
    except ValueError:  # "1e3"; not for every text, as a float does not hold every large integer
        return int(number)


def _number(value: object, _: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise ValueError(f"{value!r} is not a number") from None
    except OverflowError:
        raise ValueError("a number of so many digits is too large") from None


def _string(value: object, _: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not text")
    return unquoted(value)


def _path(value: object, _: object) -> Path:
    return value if isinstance(value, Path) else Path(_string(value, str))


READERS: Mapping[Any, Callable[[object, object], Any]] = {
    bool: _boolean,
    int: _integer,
    float: _number,
    str: _string,
    Path: _path,
}
"""The readers of types that are not made of others."""
