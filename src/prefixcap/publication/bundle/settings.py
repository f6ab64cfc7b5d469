"""Whether the rows of a bundle are those of its study, cells and models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from prefixcap.captioning.checkpoint import CONFIG
from prefixcap.errors import PrefixcapError, shown
from prefixcap.interfaces.component import LOCATION, Component
from prefixcap.interfaces.kinds import KINDS
from prefixcap.plugin import specs
from prefixcap.plugin.registry import default_registry
from prefixcap.publication.bundle.findings import Verified
from prefixcap.publication.bundle.manifest import Manifest
from prefixcap.study.analysis.analysis import LEVEL, correction_for
from prefixcap.study.analysis.reader import SavedStudy
from prefixcap.study.analysis.rows import NO_BRIDGE
from prefixcap.study.artifacts.folder import CELL
from prefixcap.study.artifacts.replicates import RESAMPLES, SEED
from prefixcap.study.artifacts.shapes import CELL_INFO
from prefixcap.study.definition.study import IMAGES, TEXTS, Study
from prefixcap.study.execution.training import training_summary
from prefixcap.util.files import AlteredError, read_json

MEASURED = {"captions_per_second": "captions_per_second", "decoding_flops": "flops"}
"""The columns of a row that its `cell.json` has, by the names there."""


def check(study: SavedStudy, stated: Manifest, found: Verified) -> None:
    """Compare the study's settings with the manifest, and its rows with its cells and models."""
    expected = {
        "resamples": RESAMPLES,
        "seed": SEED,
        "level": LEVEL,
        "correction": correction_for(study),
    }
    found.compare("setting", "manifest.json, statistics", dict(stated.statistics), expected)
    _check_grid(study, found)
    names = [row["cell"] for row in (*study.rows, *study.baselines)]
    for name in sorted({name for name in names if names.count(name) > 1}):
        found.add("setting", "scores.json", f"the cell {shown(name)} has several rows")
    for row in study.rows:
        _check_row(study, row, found)


def _check_grid(study: SavedStudy, found: Verified) -> None:
    try:
        plan = Study.from_json(study.config, default_registry())
    except PrefixcapError as error:
        found.note(f"the study's settings were not compared with its rows: {error}")
        return
    if plan.cells != len(study.rows):
        text = f"it describes {plan.cells} cells, and there are {len(study.rows)} rows"
        found.add("setting", CONFIG, text)
    known: dict[str, list[Any]] = {
        kind: [_settings(each) for each in getattr(plan, f"{kind}s")]
        for kind in ("encoder", "lm", "mapper", "tuning", "bridge", "decoder")
    }
    known["bridge"] += [{"name": NO_BRIDGE}] if IMAGES in plan.train_on else []
    known |= {"train_on": [*plan.train_on]}
    known |= {"prefix_length": [*plan.prefix_lengths], "seed": [*plan.seeds]}
    for row in study.rows:
        for name, values in known.items():
            value = _parsed(name, row[name]) if name in KINDS else row[name]
            if value is not None and value not in values:
                text = f"the {name} {shown(row[name])} is not in the study's {CONFIG}"
                found.add("setting", f"scores.json, {shown(row['cell'])}", text)


def _check_row(study: SavedStudy, row: Mapping[str, Any], found: Verified) -> None:
    place = f"scores.json, {shown(row['cell'])}"
    info = read_json(study.cells[row["cell"]].folder / CELL, CELL_INFO) or {}
    model = study.models[row["model"]]
    known: dict[str, Any] = {"model": Path(row["model"]).name}
    found.compare("setting", f"{place}, model", info.get("model"), known["model"])
    for column, name in MEASURED.items():
        found.compare("setting", f"{place}, {column}", row.get(column), info.get(name))
    _compare_component(place, "decoder", row, info, found)
    if not model:
        return  # it was deleted before the study was bundled
    try:
        summary = training_summary(study.folder / row["model"])
        length = model["shape"]["prefix_length"]
    except (KeyError, TypeError, IndexError, ValueError, AttributeError) as error:
        path = study.folder / row["model"] / CONFIG
        raise AlteredError(path, f"it is no model's: {error!r}") from None
    for name, value in {**summary, "prefix_length": length, "seed": model.get("seed")}.items():
        found.compare("setting", f"{place}, {name}", row.get(name), value)
    found.compare("setting", f"{place}, train_on", row["train_on"], _source(model))
    for kind in ("encoder", "lm", "mapper", "tuning", "bridge"):
        _compare_component(place, kind, row, model, found)


def _source(model: Mapping[str, Any]) -> str:
    """Return what a model was trained on, by its config."""
    return IMAGES if model.get("bridge") is None else TEXTS


def _compare_component(
    place: str, kind: str, row: Mapping[str, Any], made: Mapping[str, Any], found: Verified
) -> None:
    """Compare a component that a row names with the one that made the cell or the model."""
    named = _parsed(kind, row[kind])
    data = made.get(kind)
    try:
        base = KINDS[kind]
        config = default_registry().from_json(base, dict(data)) if data else None
    except (PrefixcapError, TypeError, ValueError):
        return  # its plugin is not installed
    if named is not None and config is not None and named != _settings(config):
        text = f"{shown(row[kind])} is written, {shown(specs.to_spec(config))} made it"
        found.add("setting", f"{place}, {kind}", text)


def _parsed(kind: str, spec: str) -> dict[str, Any] | None:
    try:
        return _settings(default_registry().parse(KINDS[kind], spec))
    except PrefixcapError:
        return None


def _settings(config: Component) -> dict[str, Any]:
    """Return a component's settings without paths, which a bundle shortens."""
    places = {f.name for f in attrs.fields(type(config)) if LOCATION in f.metadata}
    return {k: v for k, v in specs.to_json(config).items() if k not in places}
