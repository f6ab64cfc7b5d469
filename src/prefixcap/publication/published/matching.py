"""The row of a study that corresponds to a published result, and how its settings differ."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

import attrs

from prefixcap.errors import PrefixcapError, listed, shown
from prefixcap.interfaces.component import LOCATION, PATH, Component
from prefixcap.interfaces.kinds import KINDS
from prefixcap.plugin import specs
from prefixcap.plugin.registry import default_registry
from prefixcap.publication.published.targets import Target
from prefixcap.study.analysis.analysis import Analysis
from prefixcap.study.analysis.reader import SavedStudy
from prefixcap.study.analysis.rows import FIELDS, NO_BRIDGE, TableRow
from prefixcap.study.definition.study import Study

ELSEWHERE = ("dataset", "device", "split")
"""Fields of a study that are compared otherwise, or not at all."""


def find_row(
    target: Target, study: SavedStudy, analysis: Analysis
) -> tuple[TableRow, str, list[str]]:
    """Return the row of a study that is closest to a target's settings.

    Returns:
        The row, why it is not comparable ("" if it is), and notes.
    """
    rows = [entry for entry in analysis.entries if not entry.baseline]
    if target.study is None:
        reason = "no command for it is known, so no row of the study is known to correspond"
        return rows[0], reason, []
    try:
        here = Study.from_json(study.config, default_registry())
    except PrefixcapError as error:
        return rows[0], f"the study's settings cannot be read: {error}", []
    notes: list[str] = []
    problems = [*_data_problems(target, here), *_setting_problems(target.study, here)]
    differing = {id(row): [*_differing(target.study, row)] for row in rows}
    row = min(rows, key=lambda each: len(differing[id(each)]))
    for name, expected, own, only_place in differing[id(row)]:
        if only_place:
            notes.append(f"The {name} is {shown(own)}: check that its weights are {expected!r}.")
        else:
            problems.append(f"{name} is {shown(own)}, not {expected!r}")
    return row, listed(problems, "; "), notes


def _data_problems(target: Target, here: Study) -> Iterator[str]:
    name = here.dataset.name
    expected = target.study.dataset.name if target.study else ""
    known = target.datasets or (expected,)
    if name not in known:
        yield f"the data set is {name!r}, not {' or '.join(map(repr, known))}"
    elif name == expected and target.study is not None:
        yield from _component_problems("dataset", target.study.dataset, here.dataset)
    if here.split not in (None, "test"):
        yield f"the split is {shown(here.split)}, not 'test'"


def _component_problems(name: str, expected: Component, own: Component) -> Iterator[str]:
    one, two = _plain(expected), _plain(own)
    for key in one:
        if one[key] != two.get(key):
            yield f"{name}.{key} is {shown(two.get(key))}, not {shown(one[key])}"


def _setting_problems(expected: Study, here: Study) -> Iterator[str]:
    """Yield how settings differ on which results depend, other than the axes of the grid."""
    one, two = expected.to_json(), here.to_json()
    for field in attrs.fields(Study):
        option = field.metadata.get("option")
        if option is None or option.many or not option.changes_results:
            continue
        if field.name not in ELSEWHERE:
            yield from _leaves(field.name, one[field.name], two[field.name])


def _leaves(name: str, expected: Any, own: Any) -> Iterator[str]:
    if isinstance(expected, dict) and isinstance(own, dict):
        for key in dict.fromkeys((*expected, *own)):
            yield from _leaves(f"{name}.{key}", expected.get(key), own.get(key))
    elif expected != own:
        yield f"{name} is {shown(own)}, not {shown(expected)}"


def _differing(expected: Study, row: TableRow) -> Iterator[tuple[str, str, str, bool]]:
    """Yield the fields of a row that differ from those of a study of one cell.

    Each comes with what is expected, what the row has, and whether only the place of weights may
    differ.
    """
    model = expected.models(expected.encoders[0], expected.lms[0])[0]
    for name in FIELDS:
        wanted = expected.decoders[0] if name == "decoder" else getattr(model, name)
        own = str(row.fields.get(name, ""))
        if not isinstance(wanted, Component):
            text = NO_BRIDGE if wanted is None else str(wanted)
            if text != own:
                yield name, text, own, False
            continue
        try:
            config = default_registry().parse(KINDS[name], own)
        except PrefixcapError:
            yield name, specs.to_spec(wanted), own, False
            continue
        if _plain(config) != _plain(wanted) or config.name != wanted.name:
            yield name, specs.to_spec(wanted), own, False
        elif _places(config) != _places(wanted):
            yield name, specs.to_spec(wanted), own, True


def _plain(config: Component) -> dict[str, Any]:
    """Return the settings of a component that say nothing about where its weights or data are."""
    places = {f.name for f in attrs.fields(type(config)) if LOCATION in f.metadata}
    return {key: value for key, value in specs.to_json(config).items() if key not in places}


def _places(config: Component) -> list[str]:
    """Return the names that a component's paths end with, as copies are elsewhere."""
    fields = attrs.fields(type(config))
    paths = [f.name for f in fields if f.metadata.get(LOCATION) == PATH[LOCATION]]
    values = [str(getattr(config, name)) for name in paths]
    return [PurePath(value).name.replace(".pt", "") if value else "" for value in values]
