"""Compute the numbers of a study, from its rows and the replicates of its cells.

`analyze(load_study(folder))` stores its result in the folder, as `analysis.json`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from prefixcap.errors import PrefixcapWarning
from prefixcap.evaluation.stats import (
    CellTable,
    PairwiseDifferences,
    Replicates,
    bootstrap_interval,
    pool_seeds,
)
from prefixcap.interfaces.dataset import Example, ImageItem
from prefixcap.interfaces.metric import MetricConfig, Record
from prefixcap.plugin import specs
from prefixcap.study.analysis.analysis import CORRECTIONS, LEVEL, Analysis
from prefixcap.study.analysis.reader import SavedCell, SavedStudy
from prefixcap.study.analysis.rows import FIELDS, table_rows
from prefixcap.study.artifacts import replicates as resampling
from prefixcap.study.artifacts import scores as scoring
from prefixcap.study.artifacts.folder import StudyFolder
from prefixcap.util.files import AlteredError, read_json

FORMAT = 2
_KEY_FIELDS = (*FIELDS, "seed", "cell", "scores", "name")


def analyze(study: SavedStudy, *, level: float = LEVEL) -> Analysis:
    """Compute the numbers of a study, or read them if they are stored.

    Raises:
        PrefixcapError: If replicates are missing and a metric of the study is not installed or
            lacks what it requires, or if the level is not between 0 and 1.
    """
    try:
        stored = read_json(StudyFolder(study.folder).analysis) or {}
    except AlteredError as error:
        stored = {}
        warnings.warn(error.remade, PrefixcapWarning, stacklevel=2)
    if stored.get("key") == _key(study.rows, study.baselines, level):
        return Analysis.from_json(stored)
    analysis = compute(study.rows, study.baselines, replicates(study), level=level)
    analysis.write(study.folder)
    return analysis


def metrics_of(study: SavedStudy) -> list[MetricConfig]:
    """Return the study's metrics.

    Raises:
        PrefixcapError: If one is not installed.
    """
    from prefixcap.plugin.registry import default_registry

    return [default_registry().from_json(MetricConfig, data) for data in study.config["metrics"]]


def replicates(study: SavedStudy) -> dict[str, Replicates]:
    """Return the replicates of every cell, computing missing ones; raises as `analyze`."""
    metrics = metrics_of(study)
    by_cell = {
        name: resampling.replicates(cell.folder, records(study, cell), metrics)
        for name, cell in study.cells.items()
    }
    return {name: each for name, each in by_cell.items() if each is not None}


def records(study: SavedStudy, cell: SavedCell) -> list[Record]:
    """Return a cell's captions with their references."""
    examples = [
        Example(image=ImageItem(id=image.id, index=n), references=image.references)
        for n, image in enumerate(study.images)
    ]
    return scoring.records(examples, cell.lines)


def compute(
    rows: Sequence[Mapping[str, Any]],
    baselines: Sequence[Mapping[str, Any]],
    cells: Mapping[str, Replicates],
    *,
    level: float = LEVEL,
) -> Analysis:
    """Compute the intervals and comparisons of a study from its rows and its cells' replicates."""
    entries = table_rows(rows, baselines)
    pooled = {
        index: pool([cells[cell] for cell in entry.cells])
        for index, entry in enumerate(entries)
        if entry.cells and all(cell in cells for cell in entry.cells)
    }
    bounds: dict[int, dict[str, tuple[float, float]]] = {index: {} for index in pooled}
    pairs: dict[str, dict[str, list[Any]]] = {}
    for indices, names in _tables(pooled).items():
        table = CellTable(
            replicates=[pooled[index].of(names) for index in indices],
            fixed=[entries[index].baseline for index in indices],
        )
        for place, index in enumerate(indices):
            variance = table.seed_variance(place)
            estimates = bootstrap_interval(table.replicates[place], level=level, variance=variance)
            bounds[index] |= {name: each.bounds for name, each in estimates.items()}
        if len(indices) > 1:
            pairs |= _columns(table.pairs(level=level), indices)
    for index, intervals in bounds.items():
        entries[index] = attrs.evolve(entries[index], intervals=intervals)
    scores = dict.fromkeys(name for each in pooled.values() for name in each.names)
    return Analysis(
        key=_key(rows, baselines, level),
        level=level,
        resamples=resampling.RESAMPLES,
        images=max((len(each.images) for each in pooled.values()), default=0),
        scores=tuple(scores),
        entries=tuple(entries),
        pairs={name: pairs[name] for name in scores if name in pairs},
    )


def pool(seeds: Sequence[Replicates]) -> Replicates:
    """Pool the replicates of a row's seeds, in the scores that all of them have."""
    names = [name for name in seeds[0].names if all(name in each.names for each in seeds)]
    return pool_seeds([each.of(names) for each in seeds])


def _tables(pooled: Mapping[int, Replicates]) -> dict[tuple[int, ...], list[str]]:
    """Group scores by the rows that have them: captions without a model lack some scores."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for name in dict.fromkeys(name for each in pooled.values() for name in each.names):
        indices = tuple(index for index, each in pooled.items() if name in each.names)
        groups.setdefault(indices, []).append(name)
    return groups


def _columns(
    differences: PairwiseDifferences, indices: Sequence[int]
) -> dict[str, dict[str, list[Any]]]:
    columns: dict[str, dict[str, list[Any]]] = {}
    for k, name in enumerate(differences.names):
        arrays = {key: getattr(differences, key)[:, k] for key in ("value", "low", "high", "p")}
        adjusted = {key: adjust(list(arrays["p"])) for key, adjust in CORRECTIONS.items()}
        columns[name] = {"entries": list(indices)}
        for key, values in {**arrays, **adjusted}.items():
            columns[name][key] = [float(f"{value:.6g}") for value in values]
    return columns


def _key(
    rows: Sequence[Mapping[str, Any]], baselines: Sequence[Mapping[str, Any]], level: float
) -> str:
    inputs = [{k: v for k, v in row.items() if k in _KEY_FIELDS} for row in (*rows, *baselines)]
    return specs.digest(FORMAT, resampling.FORMAT, resampling.RESAMPLES, level, inputs)
