"""Rules for the config of every kind."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import Any

import attrs

from prefixcap.interfaces.kinds import KINDS
from prefixcap.plugin import specs
from prefixcap.testing.case import Case
from prefixcap.testing.rules.rule import BrokenRule, require, rule

HEAVY = ("torch", "transformers", "numpy", "scipy", "matplotlib", "PIL", "clip", "torchvision")


@rule("config-name")
def name(case: Case) -> None:
    """The config has a kind, a version, and a name of lowercase letters, digits and dashes."""
    config = case.config
    base = KINDS.get(config.kind)
    require(base is not None and isinstance(config, base), f"{config.kind!r} is not its kind")
    spelling = re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", config.name)
    require(spelling is not None, f"the name {config.name!r} cannot be written in a spec")
    require(bool(config.version), "the version is empty")


@rule("config-frozen")
def frozen(case: Case) -> None:
    """The config cannot be changed after it is created."""
    for field in [field.name for field in attrs.fields(type(case.config))] or ["name"]:
        try:
            setattr(case.config, field, getattr(case.config, field))
        except attrs.exceptions.FrozenInstanceError:
            continue
        except AttributeError as error:  # for another reason than being frozen
            raise BrokenRule(f"the class is not attrs.frozen: {error}") from error
        raise BrokenRule(f"{field!r} could be set on the config")


@rule("config-equal")
def equal(case: Case) -> None:
    """Configs with the same settings are equal and have the same hash."""
    twin = attrs.evolve(case.config)
    require(twin == case.config, "a copy of the config is not equal to it")
    require(hash(twin) == hash(case.config), "a copy of the config has another hash")


@rule("config-defaults")
def defaults(case: Case) -> None:
    """The config can be created without the settings that have defaults."""
    required = {
        field.alias or field.name: getattr(case.config, field.name)
        for field in _settings(case)
        if field.default is attrs.NOTHING
    }
    type(case.config)(**required)


@rule("config-json")
def as_json(case: Case) -> None:
    """The config can be restored from its JSON."""
    data = json.loads(json.dumps(specs.to_json(case.config)))
    require(data.pop("name") == case.config.name, "the JSON has another name")
    _require_restored(case, data, "its own JSON")


@rule("config-spec")
def as_spec(case: Case) -> None:
    """The config can be restored from its spec, the text used in the shell."""
    settings = [f"{field.name}={text}" for field, text in specs.written(case.config)]
    # a setting with its default value may be written too
    for spec in (specs.to_spec(case.config), f"{case.config.name}:{','.join(settings)}"):
        _require_restored(case, specs.split(spec)[1], spec)


@rule("config-documented")
def documented(case: Case) -> None:
    """The class has a docstring, and every setting is documented in it or in a base class's."""
    own = vars(type(case.config)).get("__doc__") or ""
    require(bool(own.strip()), f"{type(case.config).__name__} has no docstring")
    text = "\n".join(base.__doc__ or "" for base in type(case.config).__mro__)
    for field in _settings(case):
        # as in Google's style, NumPy's or Sphinx's; NumPy's may leave the type out
        entry = rf"^\s*(:\w+ )?{re.escape(field.name)}( \([^)]*\))?\s*(:|$)"
        require(
            re.search(entry, text, re.MULTILINE) is not None,
            f'no docstring documents {field.name!r}: add a line "{field.name}: ..."',
        )


@rule("config-light")
def light(case: Case) -> str | None:
    """Importing the config class imports no heavy library; that happens in `build()`."""
    if type(case.config).__module__ == "__main__":
        return "the class is defined in the running script, which cannot be imported alone"
    # only what the import adds counts, not what the interpreter imports when it starts
    program = (
        "import sys, importlib; before = set(sys.modules); "
        f"importlib.import_module({type(case.config).__module__!r}); "
        f"print(*(m for m in {HEAVY!r} if m in sys.modules and m not in before))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment
    )
    require(done.returncode == 0, f"importing the class alone failed: {done.stderr[-500:]}")
    heavy = ", ".join(done.stdout.split())
    require(not heavy, f"importing {type(case.config).__module__} imports {heavy}")
    return None


@rule("config-registered")
def registered(case: Case) -> str | None:
    """The registry, if the case has one, returns the config for its spec."""
    if case.registry is None:
        return "the case has no registry"
    spec = specs.to_spec(case.config)
    config = case.registry.parse(KINDS[case.config.kind], spec)
    require(config == case.config, f"the registry returns {config} for {spec!r}")
    return None


def _settings(case: Case) -> list[attrs.Attribute[Any]]:
    return [field for field in attrs.fields(type(case.config)) if field.init]


def _require_restored(case: Case, settings: dict[str, Any], source: str) -> None:
    config = specs.structure(type(case.config), settings, source)
    require(config == case.config, f"{source!r} becomes {config}, not {case.config}")
