"""The converter of studies: from the shell's texts, from TOML and from JSON, and back to JSON."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import isclass
from typing import TYPE_CHECKING, Any, cast

import cattrs

from prefixcap.interfaces.component import Component
from prefixcap.plugin import specs
from prefixcap.plugin.registry import default_registry
from prefixcap.training.config import TrainingConfig

if TYPE_CHECKING:
    from prefixcap.plugin.registry import Registry


def converter(
    registry: Registry | None = None, labels: dict[str, str] | None = None
) -> cattrs.Converter:
    """Build a converter.

    A component is a spec or JSON data; a tuple is a list, whose texts may be comma lists, or one
    value, and keeps each value once; numbers and truth values may be texts.

    Args:
        registry: The components that specs and JSON data name; the installed ones by default.
        labels: Receives the text that each component was given as, by the component's digest.
    """

    def component(value: object, base: type[Component]) -> Component:
        known = registry or default_registry()
        if not isinstance(value, str):
            return known.from_json(base, cast(dict[str, object], value))
        config = known.parse(base, value)
        if labels is not None:
            labels.setdefault(specs.digest(config), value)
        return config

    def many(value: object, target: Any) -> tuple[object, ...]:
        values = value if isinstance(value, list | tuple) else [value]
        parts = [p for v in values for p in (specs.split_list(v) if isinstance(v, str) else [v])]
        items = (result.structure(part, target.__args__[0]) for part in parts)
        return tuple({_identity(item): item for item in items}.values())

    result = specs.new_converter(detailed_validation=False)
    result.register_structure_hook_func(_is_component, component)
    result.register_structure_hook_func(_is_tuple, many)
    result.register_structure_hook(TrainingConfig, _training)
    result.register_unstructure_hook_func(_is_component, specs.to_json)
    result.register_unstructure_hook_func(
        _is_tuple, lambda values: [result.unstructure(value) for value in values]
    )
    result.register_unstructure_hook(TrainingConfig, TrainingConfig.to_json)
    return result


def _is_component(target: Any) -> bool:
    return isclass(target) and issubclass(target, Component)


def _is_tuple(target: Any) -> bool:
    return getattr(target, "__origin__", None) is tuple


def _identity(value: object) -> object:
    return specs.digest(value) if isinstance(value, Component) else value


def _training(value: object, _: object) -> TrainingConfig:
    if isinstance(value, TrainingConfig):
        return value
    if isinstance(value, str):
        settings = specs.split(f"training:{value}")[1]
        return cast(
            TrainingConfig, specs.structure(cast(Any, TrainingConfig), settings, "--training")
        )
    return TrainingConfig.from_json(cast(Mapping[str, Any], value))
