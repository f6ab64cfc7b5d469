"""The target `specs`: changed specs of all components, parsed and written again."""

from __future__ import annotations

from pathlib import Path
from random import Random

import attrs

from fuzzing.mutations import NUMBERS, TEXTS, mutate_text, value
from prefixcap.interfaces.kinds import KINDS
from prefixcap.plugin import specs
from prefixcap.plugin.registry import default_registry


class Specs:
    """Parses a spec with changed settings; one that is valid must survive being written."""

    def __init__(self, folder: Path) -> None:
        del folder
        self._registry = default_registry()

    def run(self, stream: Random) -> None:
        """Run one case."""
        kind = stream.choice([*KINDS])
        name = stream.choice(self._registry.names(kind))
        fields = attrs.fields(self._registry.config_class(kind, name))
        chosen = stream.sample(fields, min(len(fields), stream.randint(0, 3)))
        base = KINDS[kind]
        if stream.random() < 0.2:
            data = {"name": name, **{field.name: value(stream) for field in chosen}}
            self._registry.from_json(base, data)
            return
        settings = [f"{field.name}={self._value(stream, field)}" for field in chosen]
        spec = f"{name}:{','.join(settings)}" if settings else name
        if stream.random() < 0.5:
            spec = mutate_text(stream, spec)
        if stream.random() < 0.1:
            spec = next(iter(specs.split_list(spec)), spec)
        config = self._registry.parse(base, spec)
        again = self._registry.parse(base, specs.to_spec(config))
        if again != config:
            raise AssertionError(f"{spec!r} is {config}, written and read again it is {again}")
        if self._registry.from_json(base, specs.to_json(config)) != config:
            raise AssertionError(f"{spec!r} is {config}, and other as JSON")

    def _value(self, stream: Random, field: attrs.Attribute[object]) -> str:
        default = specs.default_of(field)
        known = "" if default is attrs.NOTHING else specs.to_text(default)
        return str(stream.choice((known, known, stream.choice(NUMBERS), stream.choice(TEXTS))))
