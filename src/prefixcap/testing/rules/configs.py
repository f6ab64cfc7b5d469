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
    """The config has a kind, a version, and a name of small letters, digits and dashes."""
    config = case.config
    base = KINDS.get(config.kind)
    require(base is not None and isinstance(config, base), f"{config.kind!r} is not its kind")
    spelling = re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", config.name)
    require(spelling is not None, f"the name {config.name!r} cannot be written in a spec")
    require(bool(config.version), "the version is empty")


@rule("config-frozen")
def frozen(case: Case) -> None:
    """The config cannot be changed once it is made."""
    for field in [field.name for field in attrs.fields(type(case.config))] or ["name"]:
        try:
            setattr(case.config, field, getattr(case.config, field))
        except attrs.exceptions.FrozenInstanceError:
            continue
        except AttributeError as error:  # it may be unchangeable by chance
            raise BrokenRule(f"the class is not attrs.frozen: {error}") from error
        raise BrokenRule(f"{field!r} could be set on the config")


@rule("config-equal")
def equal(case: Case) -> None:
    """Configs of the same settings are equal and hash alike."""
    twin = attrs.evolve(case.config)
    require(twin == case.config, "a copy of the config is not equal to it")
    require(hash(twin) == hash(case.config), "a copy of the config has another hash")


@rule("config-defaults")
def defaults(case: Case) -> None:
    """The settings that have defaults need not be given: the defaults are valid."""
    given = {
        field.alias or field.name: getattr(case.config, field.name)
        for field in _settings(case)
        if field.default is attrs.NOTHING
    }
    type(case.config)(**given)


@rule("config-json")
def as_json(case: Case) -> None:
    """The config comes back equal from JSON."""
    data = json.loads(json.dumps(specs.to_json(case.config)))
    require(data.pop("name") == case.config.name, "the JSON has another name")
    back = specs.structure(type(case.config), data, "its own JSON")
    require(back == case.config, f"from JSON came back {back}, not {case.config}")


@rule("config-spec")
def as_spec(case: Case) -> None:
    """The config comes back equal from its spec, the text that the shell takes."""
    spec = specs.to_spec(case.config)
    _, settings = specs.split(spec)
    back = specs.structure(type(case.config), settings, spec)
    require(back == case.config, f"from {spec!r} came back {back}, not {case.config}")
    # a setting that is at its default can be written too
    data = specs.to_json(case.config)
    written = {field.name: _text(data[field.name]) for field in _settings(case)}
    whole = f"{data['name']}:{','.join(f'{key}={text}' for key, text in written.items())}"
    back = specs.structure(type(case.config), specs.split(whole)[1], whole)
    require(back == case.config, f"from {whole!r} came back {back}, not {case.config}")


@rule("config-documented")
def documented(case: Case) -> None:
    """The config class has a docstring, and every setting is named in it or in a base's."""
    own = vars(type(case.config)).get("__doc__") or ""
    require(bool(own.strip()), f"{type(case.config).__name__} has no docstring")
    text = "\n".join(base.__doc__ or "" for base in type(case.config).__mro__)
    for field in _settings(case):
        # as in Google's style, NumPy's or Sphinx's; NumPy's may leave the type out
        entry = rf"^\s*(:\w+ )?{re.escape(field.name)}( \([^)]*\))?\s*(:|$)"
        found = re.search(entry, text, re.MULTILINE)
        require(
            found is not None,
            f'no docstring says anything of {field.name!r}: a line "{field.name}: ..." does',
        )


@rule("config-light")
def light(case: Case) -> str | None:
    """Importing the config class imports no heavy library: that happens in `build()`."""
    if type(case.config).__module__ == "__main__":
        return "the class stands in the script that runs, which cannot be imported alone"
    # what the interpreter imports when it starts is not the plugin's
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
    found = ", ".join(done.stdout.split())
    require(not found, f"importing {type(case.config).__module__} imports {found}")
    return None


@rule("config-registered")
def registered(case: Case) -> str | None:
    """The registry, where the case has one, gives the config back for its spec."""
    if case.registry is None:
        return "the case has no registry"
    spec = specs.to_spec(case.config)
    back = case.registry.parse(KINDS[case.config.kind], spec)
    require(back == case.config, f"the registry gives {back} for {spec!r}")
    return None


def _settings(case: Case) -> list[attrs.Attribute[Any]]:
    """Returns the fields that can be given."""
    return [field for field in attrs.fields(type(case.config)) if field.init]


def _text(value: object) -> str:
    if isinstance(value, list):
        return "+".join(map(_text, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


RULES = (name, frozen, equal, defaults, as_json, as_spec, documented, light, registered)
