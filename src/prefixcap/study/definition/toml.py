"""A study as a TOML file: the options of `bench`, by their names."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import attrs

from prefixcap.errors import PrefixcapError, nearest
from prefixcap.interfaces.dataset import DatasetConfig
from prefixcap.interfaces.kinds import KINDS
from prefixcap.plugin import specs
from prefixcap.plugin.registry import Registry
from prefixcap.training.config import TrainingConfig
from prefixcap.util.files import write_text

LISTS = {
    "encoder": "encoders",
    "lm": "lms",
    "mapper": "mappers",
    "tuning": "tunings",
    "decoder": "decoders",
    "metrics": "metrics",
}


def read(path: Path, known: Collection[str]) -> dict[str, Any]:
    """Reads a study file.

    Args:
        path: the file.
        known: the keys that it may have.

    Raises:
        PrefixcapError: the file is missing or no TOML, or a key is not known.
    """
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise PrefixcapError(f"cannot read the study {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PrefixcapError(f"the study {path} is not TOML: {error}") from error
    for key, value in data.items():
        if key not in known:
            raise PrefixcapError(f"the study {path}: no key {key!r}{nearest(key, known)}")
        if not _is_plain(value):
            raise PrefixcapError(
                f"the study {path}: {key!r} must be a text, a number or a list of these, not "
                f"{value!r}"
            )
    return data


def write(path: Path, made: Mapping[str, Any]) -> None:
    """Writes a study file that `read` reads, without the choices that were not made."""
    write_text(path, "\n".join(["# prefixcap bench FILE.toml", *lines(made)]) + "\n")


def lines(made: Mapping[str, Any]) -> list[str]:
    """Writes choices as lines of TOML, without those that were not made."""
    kept = {k: v for k, v in made.items() if v is not None and v is not False and v != []}
    # JSON's texts are TOML's but for DEL, which TOML wants escaped
    texts = {
        k: json.dumps(v, ensure_ascii=False).replace("\x7f", "\\u007f") for k, v in kept.items()
    }
    return [f"{key} = {text}" for key, text in texts.items()]


def choices(config: Mapping[str, Any], registry: Registry) -> dict[str, Any]:
    """Returns the options of `bench` that give a study.

    Args:
        config: the study, as `Study.to_json` writes it.
        registry: where its components are looked up.

    Raises:
        PrefixcapError: a component of it is not installed.
    """

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
    for key in ("correction", "encode_batch", "max_rows"):
        values[key] = config.get(key)
    values["skip_unreadable"] = config.get("skip_unreadable")
    values["no_baselines"] = not config.get("baselines", True)
    return {key: value for key, value in values.items() if value not in (None, False, "")}


def _training(found: Mapping[str, Any], dataset: DatasetConfig) -> str:
    """Writes the settings that differ from the defaults or that the data set would advise."""
    advised = specs.split(f"training:{dataset.recommended.get('training', '')}")[1]
    defaults = attrs.asdict(TrainingConfig())
    changed = [key for key, value in found.items() if key in advised or value != defaults.get(key)]
    return ",".join(f"{key}={_text(found[key])}" for key in changed)


def _text(value: object) -> str:
    return "none" if value is None else str(value).lower() if value is True else str(value)


def _is_plain(value: object) -> bool:
    if isinstance(value, list):
        return all(isinstance(item, str | int) for item in value)
    return isinstance(value, str | int)
