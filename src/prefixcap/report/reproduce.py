"""A study's `config.json` as a study file, and its settings as shown in the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefixcap.errors import PrefixcapError
from prefixcap.plugin.registry import Registry
from prefixcap.study.definition import options
from prefixcap.study.definition.study import Study

COMPONENTS = {
    name: field.name
    for name, field in options.FIELDS.items()
    if options.OPTIONS[name].many and name not in ("prefix_len", "seed")
}


def study_file(config: Mapping[str, Any], registry: Registry) -> str:
    """Return a study's config as a study file for `bench` (TOML); "" if a plugin is missing."""
    try:
        study = Study.from_json(config, registry)
        return "\n".join(options.to_toml(options.from_study(study)))
    except PrefixcapError:
        return ""


def settings(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings of a study, by the names that the report shows."""

    def names(key: str) -> str:
        return ", ".join(each["name"] for each in config[key])

    limit = config.get("limit")
    return {
        "data set": _describe(config["dataset"]),
        "images": "all" if limit is None else f"the first {limit} of every split",
        **{key: names(plural) for key, plural in COMPONENTS.items()},
        "prefix length": ", ".join(map(str, config["prefix_lengths"])),
        "seed": ", ".join(map(str, config["seeds"])),
        "training": ", ".join(f"{k} {v}" for k, v in config["training"].items() if v is not None),
        "longest caption": f"{config['max_new_tokens']} tokens",
        "precision": f"{config['dtype']} on {config['device']}",
    }


def _describe(data: Mapping[str, Any]) -> str:
    rest = ", ".join(f"{key} {value}" for key, value in data.items() if key != "name")
    return f"{data['name']} ({rest})" if rest else str(data["name"])
