"""The converter of studies: from the shell's texts, from TOML and from JSON, and back to JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from inspect import isclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import cattrs

from prefixcap.interfaces.component import Component
from prefixcap.plugin import specs
from prefixcap.plugin.registry import default_registry
from prefixcap.training.config import TrainingConfig

if TYPE_CHECKING:
    from prefixcap.plugin.registry import Registry

C = TypeVar("C", bound=Component)
Specs: TypeAlias = str | C | Iterable[str | C]


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
        return training_config(value)
    return TrainingConfig.from_json(cast(Mapping[str, Any], value))


def training_config(text: str) -> TrainingConfig:
    """Parse training settings, such as `epochs=3,learning_rate=1e-3`.

    Raises:
        PrefixcapError: If a setting is unknown, or its value is out of range.
    """
    settings = specs.split(f"training:{text}")[1]
    return cast(TrainingConfig, specs.structure(cast(Any, TrainingConfig), settings, "--training"))


def parse(base: type[C], value: str | C) -> C:
    """Return the component of a kind that a spec names; a config is returned as it is.

    Raises:
        PrefixcapError: If the component or a setting is unknown.
    """
    return default_registry().parse(base, value)


def parse_many(base: type[C], values: Specs[C]) -> tuple[C, ...]:
    """Return the components of a kind that specs name, one or several."""
    each = [values] if isinstance(values, str | Component) else values
    return tuple(parse(base, value) for value in each)
