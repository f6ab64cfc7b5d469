"""Configs as text (`beam:num_beams=5,length_penalty=0.8`) and as JSON."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from prefixcap.errors import PrefixcapError, nearest
from prefixcap.interfaces.component import LOCATION, PART, PATH, Component

if TYPE_CHECKING:
    from cattrs import Converter

C = TypeVar("C", bound=Component)

_BRACKETS = {"(": ")", "[": "]", "{": "}"}
_FALSE = {"false", "no", "off", "0"}
_TRUE = {"true", "yes", "on", "1"}


def split_top_level(text: str, marks: str = ",") -> list[str]:
    """Split a text at marks outside brackets, and drop empty parts.

    `a=[1,2],b=3` has two parts. If brackets do not match, the text is split at every mark.
    """
    closing: list[str] = []
    cuts = [-1]
    for position, letter in enumerate(text):
        if letter in _BRACKETS:
            closing.append(_BRACKETS[letter])
        elif closing and letter == closing[-1]:
            closing.pop()
        elif letter in marks and not closing:
            cuts.append(position)
    if closing:
        cuts = [-1, *(position for position, letter in enumerate(text) if letter in marks)]
    ends = [*cuts[1:], len(text)]
    return [text[cut + 1 : end] for cut, end in zip(cuts, ends, strict=True) if end > cut + 1]


def split(spec: str) -> tuple[str, dict[str, str]]:
    """Split `name:key=value,key=value` into the name and the settings.

    Raises:
        PrefixcapError: If a setting has no "=" or appears twice.
    """
    name, _, settings = spec.partition(":")
    return name.strip(), split_settings(settings, spec)


def split_settings(text: str, place: str) -> dict[str, str]:
    """Split `key=value,key=value`; `place` is what it is part of, for the errors of `split`."""
    settings: dict[str, str] = {}
    for part in split_top_level(text):
        key, equals, value = part.partition("=")
        if not equals:
            raise PrefixcapError(f"{place!r}: {part!r} is not of the form key=value")
        if key in settings:
            raise PrefixcapError(f"{place!r}: {key!r} appears twice")
        settings[key.strip().replace("-", "_")] = value
    return settings


def split_list(text: str) -> list[str]:
    """Split a comma list of specs: a part with "=" but no ":" before it belongs to the last spec.

    `greedy,beam:num_beams=5,length_penalty=0.8` is two specs.
    """
    specs: list[str] = []
    for part in split_top_level(text):
        is_setting = "=" in part and ":" not in part.partition("=")[0]
        if is_setting and specs:
            specs[-1] += f",{part}"
        else:
            specs.append(part)
    return specs


def structure(config_class: type[C], settings: Mapping[str, object], place: str) -> C:
    """Build a config from settings by field name; a text is accepted for every type.

    Error messages begin with `place`, where the settings come from.

    Raises:
        PrefixcapError: If a setting is unknown, or a value has the wrong type or is out of range.
    """
    # imported here, because listing components and commands does not need it
    from cattrs.errors import BaseValidationError, ForbiddenExtraKeysError
    from cattrs.v import transform_error

    fields = [field.name for field in attrs.fields(config_class)]
    for key in settings:
        if key not in fields:
            known = nearest(key, fields) or f"; {config_class.name!r} has no settings"
            raise PrefixcapError(f"{place}: no setting {key!r}{known}")
    try:
        return _converter().structure(dict(settings), config_class)
    except (BaseValidationError, ForbiddenExtraKeysError) as error:
        reason = transform_error(error, format_exception=lambda inner, _: str(inner))[0]
        reason = reason.replace(" @ $.", ", at ").replace(" @ $", "")
        raise PrefixcapError(f"{place}: {reason}") from error
    except (ValueError, TypeError) as error:
        raise PrefixcapError(f"{place}: {error}") from error


def to_json(config: Component) -> dict[str, Any]:
    """Return a config as JSON data: its name and every setting."""
    return {"name": config.name, **_converter().unstructure(config)}


def to_spec(config: Component) -> str:
    """Return a config as a spec with only the settings that differ from their defaults."""
    data = to_json(config)
    changed = [
        f"{field.name}={to_text(data[field.name])}"
        for field in attrs.fields(type(config))
        if getattr(config, field.name) != default_of(field)
    ]
    return f"{config.name}:{','.join(changed)}" if changed else config.name


def default_of(field: attrs.Attribute[Any]) -> Any:
    """Return a setting's default; `attrs.NOTHING` if it is required."""
    default: Any = field.default
    return default.factory() if isinstance(default, attrs.Factory) else default  # type: ignore[arg-type]


def digest(*parts: object) -> str:
    """Hash JSON data, and configs in it, into 16 hexadecimal digits."""

    def plain(value: object) -> object:
        if isinstance(value, Component):
            return {"kind": value.kind, "version": value.version, **to_json(value)}
        raise TypeError(f"{value!r} cannot be hashed")

    text = json.dumps(parts, sort_keys=True, default=plain, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()[:16]


def absolute(config: C) -> C:
    """Return a config with its existing paths made absolute, for use in another folder."""
    return attrs.evolve(config, **{name: str(path) for name, path in _paths(config).items()})


def identity(config: Component) -> dict[str, Any]:
    """Return what keys need of a config besides the digest of what it builds, as JSON data.

    That is everything but where its weights or data are, if they are on this machine.
    """
    parts = {
        field.name
        for field in attrs.fields(type(config))
        if field.metadata.get(LOCATION) == PART[LOCATION]
    }
    settings = {k: v for k, v in to_json(config).items() if k not in parts | _paths(config).keys()}
    return {"kind": config.kind, "version": config.version, **settings}


def _paths(config: Component) -> dict[str, Path]:
    """Return the paths among a config's settings that exist, by the setting's name."""
    paths = {}
    for field in attrs.fields(type(config)):
        value = getattr(config, field.name)
        if field.metadata.get(LOCATION) == PATH[LOCATION] and value:
            with contextlib.suppress(OSError, RuntimeError, ValueError):  # too long, no home, NUL
                path = Path(value).expanduser()
                if path.exists():
                    # a file that is a link keeps its own name, whose suffix may have a meaning
                    folder, name = (path, "") if path.is_dir() else (path.parent, path.name)
                    paths[field.name] = folder.resolve() / name
    return paths


def fingerprint_inputs(config: Component) -> list[object]:
    """Return a config and everything that its settings refer to, as input for `digest`.

    The digest of what is built from the config has to be another input.
    """
    return [
        identity(config),
        *(each for part in config.subcomponents() for each in fingerprint_inputs(part)),
        *config.external_digests(),
    ]


def to_text(value: object) -> str:
    """Return a setting's JSON value as text in a spec."""
    if isinstance(value, list):
        return "+".join(map(to_text, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def new_converter(**options: Any) -> Converter:
    """Build a `cattrs.Converter` that also reads numbers, truth values and lists from texts."""
    import cattrs

    converter = cattrs.Converter(**options)
    for kind, read in ((bool, _boolean), (int, _integer), (float, _number), (str, _string)):
        converter.register_structure_hook(kind, read)
    converter.register_structure_hook_func(_is_optional, _optional)
    converter.register_structure_hook_func(is_tuple, _tuple)
    return converter


@cache
def _converter() -> Converter:
    return new_converter(forbid_extra_keys=True)


def _is_optional(target: Any) -> bool:
    return type(None) in getattr(target, "__args__", ()) and len(target.__args__) == 2


def _optional(value: object, target: Any) -> object:
    if value is None or value in ("", "none", "None"):
        return None
    (inner,) = (argument for argument in target.__args__ if argument is not type(None))
    return _converter().structure(value, inner)


def is_tuple(target: Any) -> bool:
    """Return whether a type is a tuple of any length."""
    return getattr(target, "__origin__", None) is tuple and target.__args__[-1] is Ellipsis


def _tuple(value: object, target: Any) -> tuple[object, ...]:
    parts = split_top_level(value, "+") if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)):
        raise ValueError(f"{value!r} is not a list (in text, join its parts with '+')")
    return tuple(_converter().structure(part, target.__args__[0]) for part in parts if part != "")


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


def _string(value: object, _: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not text")
    return value
