"""A study's `config.json` turned back into a study file, and what people want to know of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import attrs

from prefixcap import specs
from prefixcap.errors import PrefixcapError
from prefixcap.kinds import KINDS, DatasetConfig
from prefixcap.registry import Registry
from prefixcap.training.config import TrainingConfig

LISTS = {
    "encoder": "encoders",
    "lm": "lms",
    "mapper": "mappers",
    "tuning": "tunings",
    "decoder": "decoders",
    "metrics": "metrics",
}


def study_file(config: Mapping[str, Any], registry: Registry) -> str:
    """Writes a study file for `bench` that gives the study of a config.

    Args:
        config: a study's `config.json`.
        registry: where its components are looked up.

    Returns:
        TOML, or "" where a plugin of the study is not installed.
    """
    try:
        values = _values(config, registry)
    except PrefixcapError:
        return ""
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]
    return "\n".join(lines)


def settings(config: Mapping[str, Any]) -> dict[str, str]:
    """Returns what the study was, for people."""

    def names(key: str) -> str:
        return ", ".join(each["name"] for each in config[key])

    limit = config.get("limit")
    return {
        "data set": _described(config["dataset"]),
        "images": "all" if limit is None else f"the first {limit} of every split",
        **{key: names(plural) for key, plural in LISTS.items()},
        "prefix length": ", ".join(map(str, config["prefix_lengths"])),
        "seed": ", ".join(map(str, config["seeds"])),
        "training": ", ".join(f"{k} {v}" for k, v in config["training"].items() if v is not None),
        "longest caption": f"{config['max_new_tokens']} tokens",
        "precision": f"{config['dtype']} on {config['device']}",
    }


def _values(config: Mapping[str, Any], registry: Registry) -> dict[str, Any]:
    def spec(kind: str, data: dict[str, Any]) -> str:
        return specs.to_spec(registry.from_json(KINDS[kind], data))

    dataset: DatasetConfig = registry.from_json(DatasetConfig, config["dataset"])
    kinds = {"metrics": "metric"}
    values: dict[str, Any] = {"dataset": specs.to_spec(dataset)}
    for key, plural in LISTS.items():
        values[key] = [spec(kinds.get(key, key), data) for data in config[plural]]
    values["prefix_len"] = list(config["prefix_lengths"])
    values["seed"] = list(config["seeds"])
    values["training"] = _training(config["training"], dataset)
    for key in ("limit", "max_new_tokens", "dtype", "device"):
        values[key] = config[key]
    values["skip_unreadable"] = config.get("skip_unreadable")
    values["no_baselines"] = not config.get("baselines", True)
    return {key: value for key, value in values.items() if value not in (None, False, "")}


def _training(found: Mapping[str, Any], dataset: DatasetConfig) -> str:
    """Writes the settings that differ from the defaults or that the data set would advise."""
    advised = specs.split(f"training:{dataset.companions.get('training', '')}")[1]
    defaults = attrs.asdict(TrainingConfig())
    changed = [key for key, value in found.items() if key in advised or value != defaults.get(key)]
    return ",".join(f"{key}={_text(found[key])}" for key in changed)


def _text(value: object) -> str:
    return "none" if value is None else str(value).lower() if value is True else str(value)


def _described(data: Mapping[str, Any]) -> str:
    rest = ", ".join(f"{key} {value}" for key, value in data.items() if key != "name")
    return f"{data['name']} ({rest})" if rest else str(data["name"])
