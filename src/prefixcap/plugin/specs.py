"""Configs as text (`beam:num_beams=5,length_penalty=0.8`) and as JSON."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_origin, get_type_hints

import attrs

from prefixcap.errors import PrefixcapError, describe, nearest
from prefixcap.interfaces.component import LOCATION, PART, PATH, Component
from prefixcap.plugin import setting_types
from prefixcap.plugin.provenance import code_of
from prefixcap.plugin.setting_types import Written, quoted

if TYPE_CHECKING:
    from cattrs import Converter

C = TypeVar("C", bound=Component)

_BRACKETS = {"(": ")", "[": "]", "{": "}"}
# a quotation mark opens only where a value or an item of a list begins
_QUOTED = re.compile(r'(?:(?<=[=+,;])|\A)"(?:[^"]|"")*"(?!")')
_QUOTE_OPENS = re.compile(r'(?:[=+,;]|\A)"')


def split_top_level(text: str, marks: str = ",") -> list[str]:
    """Split a text at marks outside quotation marks and brackets, and drop empty parts.

    `a=[1,2],b="3,4"` has two parts. If brackets do not match, the text is split at every mark that
    is not quoted.
    """
    hidden = _hide_quoted(text)
    cuts, matching = _cuts(hidden, marks)
    if not matching:
        cuts = [position for position, letter in enumerate(hidden) if letter in marks]
    ends = [*cuts, len(text)]
    starts = [0, *(cut + 1 for cut in cuts)]
    return [text[start:end] for start, end in zip(starts, ends, strict=True) if end > start]


def nested(spec: str) -> str:
    """Return a spec that a setting holds, with "," for each ";" that is not quoted."""
    hidden = _hide_quoted(spec)
    return "".join("," if mark == ";" else own for mark, own in zip(hidden, spec, strict=True))


def _hide_quoted(text: str) -> str:
    return _QUOTED.sub(lambda match: "x" * len(match[0]), text)


def _cuts(text: str, marks: str) -> tuple[list[int], bool]:
    """Return the positions of marks outside brackets, and whether brackets match."""
    closing: list[str] = []
    cuts = []
    for position, letter in enumerate(text):
        if letter in _BRACKETS:
            closing.append(_BRACKETS[letter])
        elif closing and letter == closing[-1]:
            closing.pop()
        elif letter in marks and not closing:
            cuts.append(position)
    return cuts, not closing


def split(spec: str) -> tuple[str, dict[str, str]]:
    """Split `name:key=value,key=value` into the name and the settings.

    Raises:
        PrefixcapError: If a setting has no "=" or appears twice.
    """
    name, _, settings = spec.partition(":")
    return name.strip(), split_settings(settings, spec)


def split_settings(text: str, place: str) -> dict[str, str]:
    """Split `key=value,key=value`; `place` is what it is part of, for the errors of `split`.

    Values are as written, with their quotation marks, so that they can be joined again.
    """
    settings: dict[str, str] = {}
    for part in split_top_level(text):
        key, equals, value = part.partition("=")
        if not equals:
            raise PrefixcapError(f"{place!r}: {part!r} is not of the form key=value")
        key = key.strip().replace("-", "_")
        if key in settings:
            raise PrefixcapError(f"{place!r}: {key!r} appears twice")
        settings[key] = Written(value)
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
    for field in attrs.fields(config_class):
        if field.init and field.default is attrs.NOTHING and field.name not in settings:
            name, written = field.name, place.rstrip("'\"").partition(" ")[2][1:]
            start = f"{written}{',' if ':' in written else ':'}{name}=..." if written else name
            raise PrefixcapError(f"{place} needs the setting {name!r}: write {start}")
    try:
        return _converter().structure(dict(settings), config_class)
    except (BaseValidationError, ForbiddenExtraKeysError) as error:
        reason = transform_error(error, format_exception=lambda inner, _: _reason(inner))[0]
        reason = reason.replace(" @ $.", ", at ").replace(" @ $", "")
        raise PrefixcapError(f"{place}: {reason}") from error
    except (ValueError, TypeError) as error:
        raise PrefixcapError(f"{place}: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """Return an error's text; with its type, if it is not of those that validators raise."""
    text = describe(error)
    known = isinstance(error, ValueError | TypeError | PrefixcapError)
    return text.partition(": ")[2] or text if known else text


def to_json(config: Component) -> dict[str, Any]:
    """Return a config as JSON data: its name and every setting."""
    return {"name": config.name, **_converter().unstructure(config)}


def to_spec(config: Component) -> str:
    """Return a config as a spec with only the settings that differ from their defaults."""
    changed = [
        f"{field.name}={text}"
        for field, text in written(config)
        if getattr(config, field.name) != default_of(field)
    ]
    return f"{config.name}:{','.join(changed)}" if changed else config.name


def written(config: Component) -> list[tuple[attrs.Attribute[Any], str]]:
    """Return each setting of a config, and its value as text in a spec."""
    data, types = to_json(config), hints(type(config))
    return [
        (field, _setting(data[field.name], types.get(field.name, str)))
        for field in attrs.fields(type(config))
        if field.init
    ]


@cache
def hints(config_class: type) -> dict[str, Any]:
    """Return the types of a config's settings by name.

    Raises:
        NameError: If an annotation names something that does not exist when the program runs.
    """
    return get_type_hints(config_class)


def default_of(field: attrs.Attribute[Any]) -> Any:
    """Return a setting's default; `attrs.NOTHING` if it is required."""
    default: Any = field.default
    return default.factory() if isinstance(default, attrs.Factory) else default  # type: ignore[arg-type]


def digest(*parts: object) -> str:
    """Hash JSON data, and configs in it, into 16 hexadecimal digits."""

    def plain(value: object) -> object:
        if isinstance(value, Component):
            return _code(value) | to_json(value)
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
    return _code(config) | settings


def _code(config: Component) -> dict[str, Any]:
    code = code_of(type(config))
    return {"kind": config.kind, "version": config.version} | ({"code": code} if code else {})


def _paths(config: Component) -> dict[str, Path]:
    """Return the paths among a config's settings that exist, by the setting's name."""
    paths = {}
    for field in attrs.fields(type(config)):
        value = getattr(config, field.name)
        if field.metadata.get(LOCATION) == PATH[LOCATION] and value:
            with contextlib.suppress(OSError, RuntimeError, ValueError):  # too long, no home, NUL
                if (path := _absolute(Path(value).expanduser())) is not None:
                    paths[field.name] = path
    return paths


def _absolute(path: Path) -> Path | None:
    """Return a path that exists, or a pattern of files in a folder that exists, as absolute."""
    if path.is_dir():
        return path.resolve()
    at = len(path.parts) - 1  # a file that is a link keeps its own name, which may have a meaning
    if not path.exists():  # it may be a pattern such as train-{000..012}.tar
        at = next((i for i, part in enumerate(path.parts) if "{" in part), -1)
    folder = Path(*path.parts[: max(at, 0)])
    return folder.resolve().joinpath(*path.parts[at:]) if at >= 0 and folder.is_dir() else None


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
    """Return a setting's JSON value as text in a spec, quoted if it could be misread."""
    if isinstance(value, list):
        return "+".join(_item(item) for item in value)
    if isinstance(value, str):
        return quoted(value) if _is_ambiguous(value, ",") else value
    return str(value).lower() if isinstance(value, bool) else str(value)


def _item(value: object) -> str:
    text = to_text(value)
    if isinstance(value, str) and text == value and (not value or _is_ambiguous(value, ",+")):
        return quoted(value)
    return text


def _is_ambiguous(text: str, marks: str) -> bool:
    cuts, matching = _cuts(text, marks)
    return bool(cuts) or not matching or _QUOTE_OPENS.search(text) is not None


def _setting(value: Any, target: Any) -> str:
    """Return a setting's JSON value as text that is read as the same value of its type."""
    text = to_text(value)
    if not setting_types.is_union(target):
        if not (isinstance(value, list) and get_origin(target) is tuple):
            return text
        return "+".join(_item_of(item, target.__args__[0]) for item in value)
    if value == []:
        return "+"  # nothing at all would be None
    if isinstance(value, list) and text in setting_types.NOTHING:
        return quoted(value[0])  # one text, which alone would be None
    return quoted(value) if isinstance(value, str) and _reads_as(text, target) != value else text


def _item_of(value: Any, target: Any) -> str:
    text = _item(value)
    if isinstance(value, str) and target is not str and _reads_as(text, target) != value:
        return quoted(value)
    return text


def _reads_as(text: str, target: Any) -> object:
    try:
        return _converter().structure(Written(text), target)
    except (ValueError, TypeError):
        return None


def new_converter(**options: Any) -> Converter:
    """Build a `cattrs.Converter` that also reads numbers, truth values and lists from texts."""
    import cattrs

    converter = cattrs.Converter(**options)
    for kind, read in setting_types.READERS.items():
        converter.register_structure_hook(kind, read)
    converter.register_structure_hook_func(setting_types.is_literal, setting_types.read_literal)
    converter.register_structure_hook_func(
        setting_types.is_union,
        lambda value, target: setting_types.read_union(value, target, converter.structure),
    )
    converter.register_structure_hook_func(is_tuple, _tuple)
    return converter


@cache
def _converter() -> Converter:
    return new_converter(forbid_extra_keys=True)


def is_tuple(target: Any) -> bool:
    """Return whether a type is a tuple of any length."""
    return setting_types.is_tuple(target)


def _tuple(value: object, target: Any) -> tuple[object, ...]:
    parts: Any = value
    if isinstance(value, str):
        parts = [type(value)(part) for part in split_top_level(value, "+")]
    if not isinstance(parts, (list, tuple)):
        raise ValueError(f"{value!r} is not a list (in text, join its parts with '+')")
    return tuple(_converter().structure(part, target.__args__[0]) for part in parts)
