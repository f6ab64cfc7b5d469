"""Studies as options of `bench`, in the shell and in a study file (TOML).

An option's name, with underscores, is its key in a study file. `epochs` is a shorthand for the
setting of that name in `training`, and `recipe` for several settings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import attrs

from prefixcap.errors import PrefixcapError, nearest, shown
from prefixcap.interfaces.component import Component
from prefixcap.plugin import specs
from prefixcap.study.definition.schema import Option, converter
from prefixcap.study.definition.study import DATASET, Study
from prefixcap.training.config import TrainingConfig
from prefixcap.training.recipes import recipe
from prefixcap.util.files import write_text
from prefixcap.util.text_files import load_toml

if TYPE_CHECKING:
    from prefixcap.interfaces.dataset import DatasetConfig
    from prefixcap.plugin.registry import Registry

FIELDS: Mapping[str, attrs.Attribute[Any]] = {
    field.metadata["option"].name: field
    for field in attrs.fields(attrs.resolve_types(Study))
    if "option" in field.metadata
}
"""The fields of `Study` by the names of their options."""

EPOCHS = Option("epochs", "Maximum number of epochs.")
RECIPE = Option("recipe", "Training settings by name: clipcap. --training changes single ones.")
OPTIONS: Mapping[str, Option] = {
    **{name: field.metadata["option"] for name, field in FIELDS.items()},
    EPOCHS.name: EPOCHS,
    RECIPE.name: RECIPE,
}


def provided(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that were given, without those left at their defaults."""
    return {k: v for k, v in values.items() if v is not None and v is not False and v != []}


def study(values: Mapping[str, object], registry: Registry) -> Study:
    """Build a study from values by option name; they may be texts, and comma lists for many.

    An option that is not given takes the value that the data set recommends, then its default.

    Raises:
        PrefixcapError: If a component or a setting is unknown, or a value is out of range.
    """
    labels: dict[str, str] = {}
    convert = converter(registry, labels)

    def structure(name: str, value: object) -> Any:
        try:
            return convert.structure(value, cast(Any, FIELDS[name].type))
        except (ValueError, TypeError) as error:
            raise PrefixcapError(f"{OPTIONS[name].flag}: {error}") from error

    values = provided(values)
    dataset = structure("dataset", values.pop("dataset", DATASET))
    if "epochs" in values or "recipe" in values:
        named = recipe(str(values["recipe"])) if "recipe" in values else {}
        settings = specs.split_settings(str(values.get("training", "")), "training")
        epochs = {"epochs": values["epochs"]} if "epochs" in values else {}
        values["training"] = _joined({**named, **settings, **epochs})
    fields = {FIELDS[k].name: structure(k, v) for k, v in values.items() if k in FIELDS}
    fields["baselines"] = not fields.get("baselines", False)
    return Study(dataset=dataset, **fields, labels=labels)


def from_study(study: Study) -> dict[str, Any]:
    """Return the options that give a study, without those that change nothing."""
    values: dict[str, Any] = {
        name: _value(getattr(study, field.name), study.dataset) for name, field in FIELDS.items()
    }
    values["no_baselines"] = not study.baselines
    return {name: value for name, value in provided(values).items() if value != ""}


def read_file(path: Path) -> dict[str, Any]:
    """Read the options of a study file.

    Raises:
        PrefixcapError: If the file is missing or not TOML, or a key is unknown.
    """
    data = load_toml(path, "the study")
    for key, value in data.items():
        if key not in OPTIONS:
            raise PrefixcapError(f"the study {path}: no key {key!r}{nearest(key, OPTIONS)}")
        each = value if isinstance(value, list) else [value]
        if not all(isinstance(v, str | int) for v in each):
            raise PrefixcapError(
                f"the study {path}: {key!r} must be a text, a number or a list of these, not "
                f"{shown(value)}"
            )
    return data


def write_file(path: Path, values: Mapping[str, Any]) -> None:
    """Write a study file that `read_file` reads."""
    write_text(path, "\n".join(["# prefixcap bench FILE.toml", *to_toml(values)]) + "\n")


def to_toml(values: Mapping[str, Any]) -> list[str]:
    """Return options as lines of TOML, without those that were not given."""
    lines = (f"{k} = {json.dumps(v, ensure_ascii=False)}" for k, v in provided(values).items())
    # a JSON string is a TOML string, except that TOML wants DEL escaped
    return [line.replace("\x7f", "\\u007f") for line in lines]


def _value(value: object, dataset: DatasetConfig) -> object:
    if isinstance(value, TrainingConfig):
        return _changed(value, dataset)
    if isinstance(value, tuple):
        return [_value(item, dataset) for item in value]
    return specs.to_spec(value) if isinstance(value, Component) else value


def _changed(training: TrainingConfig, dataset: DatasetConfig) -> str:
    """Return the settings that differ from their defaults or that the data set recommends."""
    recommended = specs.split_settings(dataset.recommended.get("training", ""), "training")
    defaults = attrs.asdict(TrainingConfig())
    changed = {
        key: "none" if value is None else specs.to_text(value)
        for key, value in training.to_json().items()
        if key in recommended or value != defaults[key]
    }
    return _joined(changed)


def _joined(settings: Mapping[str, object]) -> str:
    return ",".join(f"{key}={value}" for key, value in settings.items())
