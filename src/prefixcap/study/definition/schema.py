"""How the fields of `Study` are described and converted: options, defaults, checks, converters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from inspect import isclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import attrs

from prefixcap.errors import PrefixcapError, nearest, shown
from prefixcap.interfaces.component import Component
from prefixcap.plugin import specs
from prefixcap.plugin.registry import default_registry
from prefixcap.training.config import TrainingConfig

if TYPE_CHECKING:
    import cattrs

    from prefixcap.plugin.registry import Registry

C = TypeVar("C", bound=Component)
T = TypeVar("T")
Specs: TypeAlias = str | C | Iterable[str | C]


@attrs.frozen
class Option:
    """How the shell and a study file give a field of `Study`.

    Attributes:
        name: The key in a study file; the shell writes it `--name`, with hyphens.
        help: The help text.
        many: Whether it takes several values, each a cell of the grid.
        aliases: Other names in the shell, such as "--prefix-length".
        changes_results: Whether results depend on it; otherwise it is only how they are computed
            or shown.
    """

    name: str
    help: str
    many: bool = False
    aliases: tuple[str, ...] = ()
    changes_results: bool = True

    @property
    def flag(self) -> str:
        """The option in the shell, such as "--prefix-len"."""
        return f"--{self.name.replace('_', '-')}"


def option(name: str, text: str, **more: Any) -> Any:
    """Return a field's metadata; the arguments are those of `Option`."""
    return {"option": Option(name, text, **more)}


def recommended(kind: str, default: str) -> Any:
    """Return a field's default: the component that the data set recommends, or else `default`."""
    return attrs.Factory(
        lambda study: study.dataset.recommended.get(kind, default), takes_self=True
    )


def at_least(minimum: int) -> Any:
    """Return a validator of a number, or of several, that names the option."""

    def check(_: Any, attribute: attrs.Attribute[Any], value: object) -> None:
        for number in value if isinstance(value, tuple) else (value,):
            if number is not None and number < minimum:
                flag = attribute.metadata["option"].flag
                raise PrefixcapError(f"{flag} must be at least {minimum}, not {number}")

    return check


def one_of(choices: tuple[str, ...]) -> Any:
    """Return a validator of one of a few words that names the option."""

    def check(_: Any, attribute: attrs.Attribute[Any], value: str) -> None:
        if value not in choices:
            raise PrefixcapError(f"--{attribute.name} cannot be {value!r}{nearest(value, choices)}")

    return check


def number_to_match(text: str) -> int:
    """Return N of "parameters=N".

    Raises:
        PrefixcapError: If the text is not of that form.
    """
    key, _, value = text.partition("=")
    if key.strip() != "parameters":
        raise PrefixcapError(
            f"--match: models cannot be matched by {shown(key)}{nearest(key, ['parameters'])}=N"
        )
    try:
        number = int(value)
    except ValueError:
        number = 0
    if number < 1:
        raise PrefixcapError(
            f"--match: parameters must be a whole number of at least 1, not {shown(value)}"
        )
    return number


def each_of(choices: tuple[str, ...]) -> Any:
    """Return a validator of several words, each one of a few, that names the option."""

    def check(_: Any, attribute: attrs.Attribute[Any], values: tuple[str, ...]) -> None:
        for value in values:
            if value not in choices:
                flag = attribute.metadata["option"].flag
                raise PrefixcapError(f"{flag} cannot be {value!r}{nearest(value, choices)}")

    return check


def converter(
    registry: Registry | None = None, labels: dict[str, str] | None = None
) -> cattrs.Converter:
    """Build a converter for the components of a registry, by default the installed ones.

    A component is a spec or JSON data; a tuple is a list, whose texts may be comma lists, or one
    value; numbers and truth values may be texts; training settings that are text stay as they are.
    `labels` receives the text that each component was given as, by the component's digest.
    """

    def component(value: object, base: type[Component]) -> Component:
        known = registry or default_registry()
        if isinstance(value, Mapping):
            return known.from_json(base, dict(value))
        config = known.parse(base, text := str(value))
        if labels is not None:
            labels.setdefault(specs.digest(config), text)
        return config

    def many(value: object, target: Any) -> tuple[object, ...]:
        values = value if isinstance(value, list | tuple) else [value]
        parts = [p for v in values for p in (specs.split_list(v) if isinstance(v, str) else [v])]
        return tuple(result.structure(part, target.__args__[0]) for part in parts)

    def training(value: object, _: object) -> str | TrainingConfig:
        return TrainingConfig.from_json(value) if isinstance(value, Mapping) else str(value)

    result = specs.new_converter(detailed_validation=False)
    result.register_structure_hook_func(_is_component, component)
    result.register_structure_hook_func(specs.is_tuple, many)
    result.register_structure_hook(TrainingConfig, training)
    result.register_unstructure_hook_func(
        _is_component, lambda config: specs.to_json(specs.absolute(config))
    )
    result.register_unstructure_hook_func(
        specs.is_tuple, lambda values: [result.unstructure(value) for value in values]
    )
    result.register_unstructure_hook(TrainingConfig, TrainingConfig.to_json)
    return result


def _is_component(target: Any) -> bool:
    return isclass(target) and issubclass(target, Component)


def training_config(value: str | TrainingConfig, study: Any) -> TrainingConfig:
    """Return training settings; a text, such as `epochs=3`, changes those of the study's data set.

    Raises:
        PrefixcapError: If a setting is unknown, or its value is out of range.
    """
    if isinstance(value, TrainingConfig):
        return value
    settings: dict[str, str] = {}
    for text in (study.dataset.recommended.get("training", ""), value):
        settings |= specs.split_settings(text, "training")
    return cast(TrainingConfig, specs.structure(cast(Any, TrainingConfig), settings, "--training"))


def components(base: type[C], values: Specs[C]) -> tuple[C, ...]:
    """Return the components of a kind that specs name, one or several, each once."""
    each = [values] if isinstance(values, str | Component) else values
    return unique(default_registry().parse(base, value) for value in each)


def unique(values: Iterable[T]) -> tuple[T, ...]:
    """Return each value once, in order; two equal cells would write the same folder."""
    return tuple(dict.fromkeys(values))
