"""Shapes of JSON data: which keys an object must have, and of which types its values are.

A shape is a type (`float` stands for every number), a list with the shape of its items, a tuple of
as many shapes, a dictionary with the shapes of its keys' values, in which `str` stands for every
other key, or `Maybe`.
"""

from __future__ import annotations

from typing import Any

import attrs

from prefixcap.errors import shown


@attrs.frozen
class Maybe:
    """A value that has a shape, is None, or is missing."""

    shape: Any


def mismatch(data: Any, shape: Any, place: str = "") -> str | None:
    """Return where data has another shape, in words; None if it has this one."""
    if isinstance(shape, Maybe):
        return None if data is None else mismatch(data, shape.shape, place)
    if isinstance(shape, type):
        kinds = (int, float) if shape is float else (shape,)
        is_valid = isinstance(data, kinds) and (shape is bool or not isinstance(data, bool))
        return None if is_valid else f"{place or 'it'} is {shown(data)}"
    if not isinstance(data, list if isinstance(shape, tuple) else type(shape)):
        return f"{place or 'it'} is {shown(data)}"
    if isinstance(shape, tuple) and len(data) != len(shape):
        return f"{place or 'it'} has {len(data)} values, not {len(shape)}"
    parts = _members(data, shape) if isinstance(data, dict) else _items(data, shape)
    for name, value, inner in parts:
        if value is _MISSING and not isinstance(inner, Maybe):
            return f"{place or 'it'} has no {name}"
        where = f"{place}, {name}" if place else name
        if value is not _MISSING and (found := mismatch(value, inner, where)):
            return found
    return None


_MISSING = object()


def _items(data: list[Any], shape: Any) -> list[tuple[str, Any, Any]]:
    shapes = shape if isinstance(shape, tuple) else shape * len(data)
    return [(f"item {n}", *pair) for n, pair in enumerate(zip(data, shapes, strict=True), 1)]


def _members(data: dict[str, Any], shape: dict[Any, Any]) -> list[tuple[str, Any, Any]]:
    named = [(shown(k), data.get(k, _MISSING), s) for k, s in shape.items() if k is not str]
    other = shape.get(str)
    rest = () if other is None else (k for k in data if k not in shape)
    return [*named, *((shown(key), data[key], other) for key in rest)]
