"""Compute the numbers of a study, from its rows and the replicates of its cells.

`analyze(load_study(folder))` stores its result in the folder, as `analysis.json`.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import attrs
import numpy as np

from prefixcap.errors import PrefixcapError, PrefixcapWarning
from prefixcap.evaluation.stats import CellTable, Replicates, bootstrap_interval, pool_seeds
from prefixcap.interfaces.metric import MetricConfig, Record, Scale, scale_of
from prefixcap.plugin import specs
from prefixcap.study.analysis import score_pairs
from prefixcap.study.analysis.analysis import LEVEL, Analysis
from prefixcap.study.analysis.reader import SavedCell, SavedStudy
from prefixcap.study.analysis.rows import FIELDS, table_rows
from prefixcap.study.analysis.score_pairs import SMALLEST, ScorePairs
from prefixcap.study.artifacts import replicates as resampling
from prefixcap.study.artifacts import scores as scoring
from prefixcap.study.artifacts.folder import StudyFolder
from prefixcap.study.artifacts.shapes import ANALYSIS
from prefixcap.util.files import AlteredError, read_json, unless_read_only

FORMAT = 3
_KEY_FIELDS = (*FIELDS, "seed", "cell", "scores", "name")


def analyze(study: SavedStudy, *, level: float = LEVEL) -> Analysis:
    """Compute the numbers of a study, or read them if they are stored.

    Raises:
        PrefixcapError: If replicates are missing and a metric of the study is not installed or
            lacks what it requires, or if the level is not between 0 and 1.
    """
    scales = scales_of(study)
    key = _key(study.rows, study.baselines, scales, level)
    try:
        analysis = _stored(StudyFolder(study.folder), key)
    except AlteredError as error:
        analysis = None
        warnings.warn(error.remade, PrefixcapWarning, stacklevel=2)
    if analysis is not None:
        return analysis
    analysis = compute(study.rows, study.baselines, replicates(study), scales=scales, level=level)
    with unless_read_only():
        analysis.write(study.folder)
    return analysis


def _stored(files: StudyFolder, key: str) -> Analysis | None:
    """Read an analysis; None unless it has this key."""
    stored = read_json(files.analysis, ANALYSIS) or {}
    pairs = score_pairs.read(files.pairs, key) if stored.get("key") == key else None
    return None if pairs is None else Analysis.from_json(stored, pairs)


def scales_of(study: SavedStudy) -> dict[str, Scale]:
    """Return how each score of a study is read, as far as its metrics are installed."""
    from prefixcap.plugin.registry import default_registry

    registry, metrics = default_registry(), []
    for data in study.config.get("metrics", ()):
        with suppress(PrefixcapError):
            metrics.append(registry.from_json(MetricConfig, data))
    return scales(metrics, (*study.rows, *study.baselines))


def scales(metrics: Sequence[MetricConfig], rows: Sequence[Mapping[str, Any]]) -> dict[str, Scale]:
    """Return how each score of some rows is read."""
    names = dict.fromkeys(name for row in rows for name in row["scores"])
    return {name: scale_of(metrics, name) for name in names}


def metrics_of(study: SavedStudy) -> list[MetricConfig]:
    """Return the study's metrics.

    Raises:
        PrefixcapError: If one is not installed.
    """
    from prefixcap.plugin.registry import default_registry

    return [default_registry().from_json(MetricConfig, data) for data in study.config["metrics"]]


def replicates(study: SavedStudy, unbuilt: Collection[str] = ()) -> dict[str, Replicates]:
    """Return the replicates of every cell, computing missing ones; raises as `analyze`.

    `unbuilt` are the specs of metrics that cannot be built here.
    """
    metrics = metrics_of(study)
    by_cell = {
        name: resampling.replicates(
            cell.folder, study.ids, partial(records, study, cell), metrics, unbuilt=unbuilt
        )
        for name, cell in study.cells.items()
    }
    return {name: each for name, each in by_cell.items() if each is not None}


def records(study: SavedStudy, cell: SavedCell) -> list[Record]:
    """Read a cell's captions with their references."""
    return scoring.records(study.examples, cell.read())


def compute(
    rows: Sequence[Mapping[str, Any]],
    baselines: Sequence[Mapping[str, Any]],
    cells: Mapping[str, Replicates],
    *,
    scales: Mapping[str, Scale] | None = None,
    level: float = LEVEL,
) -> Analysis:
    """Compute the intervals and comparisons of a study from its rows and its cells' replicates.

    `scales` tells how each score is read. One score is in memory at a time, beside the replicates.
    """
    scales = scales or {}
    entries = table_rows(rows, baselines)
    seeds = {
        index: [cells[cell] for cell in entry.cells]
        for index, entry in enumerate(entries)
        if entry.cells and all(cell in cells for cell in entry.cells)
    }
    names = {index: shared_names(each) for index, each in seeds.items()}
    bounds: dict[int, dict[str, tuple[float, float]]] = {index: {} for index in seeds}
    pairs: dict[str, ScorePairs] = {}
    scores = tuple(dict.fromkeys(name for known in names.values() for name in known))
    for score in scores:
        # captions without a model lack some scores
        indices = [index for index, known in names.items() if score in known]
        table = CellTable(
            replicates=[pool_seeds([each.of([score]) for each in seeds[n]]) for n in indices],
            fixed=[entries[index].baseline for index in indices],
        )
        limits = {score: scales[score].range} if score in scales else {}
        for place, index in enumerate(indices):
            variance = table.seed_variance(place)
            estimate = bootstrap_interval(
                table.replicates[place], level=level, variance=variance, ranges=limits
            )[score]
            bounds[index][score] = estimate.bounds
        if len(indices) > 1:
            pairs[score] = _pairs(table, indices, level)
    for index, intervals in bounds.items():
        entries[index] = attrs.evolve(entries[index], intervals=intervals)
    return Analysis(
        key=_key(rows, baselines, scales, level),
        level=level,
        resamples=resampling.RESAMPLES,
        images=max((len(each[0].images) for each in seeds.values()), default=0),
        scores=scores,
        entries=tuple(entries),
        pairs=pairs,
        scales=scales,
    )


def shared_names(seeds: Sequence[Replicates]) -> list[str]:
    """Return the scores that all seeds of a row have."""
    return [name for name in seeds[0].names if all(name in each.names for each in seeds)]


def pool(seeds: Sequence[Replicates]) -> Replicates:
    """Pool the replicates of a row's seeds, in the scores that all of them have."""
    names = shared_names(seeds)
    return pool_seeds([each.of(names) for each in seeds])


def _pairs(table: CellTable, indices: Sequence[int], level: float) -> ScorePairs:
    found = table.pairs(level=level)
    value, low, high, p = (each[:, 0] for each in (found.value, found.low, found.high, found.p))
    return ScorePairs(
        entries=tuple(indices),
        level=level,
        value=value,
        low=low,
        high=high,
        p=np.maximum(p, SMALLEST),
    )


def _key(
    rows: Sequence[Mapping[str, Any]],
    baselines: Sequence[Mapping[str, Any]],
    scales: Mapping[str, Scale],
    level: float,
) -> str:
    inputs = [{k: v for k, v in row.items() if k in _KEY_FIELDS} for row in (*rows, *baselines)]
    read = {name: attrs.asdict(scale) for name, scale in scales.items()}
    return specs.digest(FORMAT, resampling.FORMAT, resampling.RESAMPLES, level, inputs, read)
