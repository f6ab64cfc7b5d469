"""Replicates of a cell: its scores on resampled images, computed once and stored with the cell.

The resamples depend only on the number of images, so the replicates of all cells on the same images
are paired, even across studies.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import attrs
import numpy as np

from prefixcap.errors import PrefixcapError, PrefixcapWarning
from prefixcap.evaluation.evaluate import readable
from prefixcap.evaluation.stats import (
    Mean,
    Replicates,
    Resamplable,
    Statistic,
    bootstrap_interval,
    replicate,
)
from prefixcap.interfaces.metric import MetricConfig, Record, Scores, scale_of
from prefixcap.plugin import specs
from prefixcap.study.artifacts.folder import REPLICATES, SCORES
from prefixcap.study.artifacts.locks import locked
from prefixcap.study.artifacts.shapes import CELL_SCORES
from prefixcap.util.files import AlteredError, read_json, unless_read_only
from prefixcap.util.storage.tensor_files import read_tensors, write_tensors

FORMAT = 1
RESAMPLES = 1000
SEED = 0


@attrs.frozen
class StoredReplicates:
    """The replicates of one metric.

    Attributes:
        key: A digest of what they were computed from.
        names: The K scores that can be resampled; a metric may have none.
        observed: (K), the scores on all images.
        drawn: (S,K), the scores on S resamples.
    """

    key: str
    names: tuple[str, ...]
    observed: np.ndarray
    drawn: np.ndarray


def _warn(text: str) -> None:
    warnings.warn(text, PrefixcapWarning, stacklevel=4)


def replicates(
    folder: Path,
    images: tuple[str, ...],
    records: Callable[[], Sequence[Record]],
    metrics: Sequence[MetricConfig],
    report: Callable[[str], None] = _warn,
    *,
    unbuilt: Collection[str] = (),
) -> Replicates | None:
    """Return the replicates of a scored cell, after computing those that are missing.

    Metrics without stored scores are ignored. `records` reads the captions of the images; it is
    called if something is missing. `report` is called with the message that stored replicates were
    altered and are computed again. `unbuilt` are the specs of metrics that lack what they need, so
    that only means of their stored scores of images are resampled.

    Returns:
        The replicates of one seed for all scores that can be resampled; None if none can.

    Raises:
        AlteredError: If the scores were altered.
        PrefixcapError: If a metric lacks what it needs.
    """
    scores = read_json(folder / SCORES, CELL_SCORES) or {}
    scored = {n: metric for metric in metrics if (n := specs.to_spec(metric)) in scores}
    keys = {name: _key(scores[name]["key"]) for name in scored}
    try:
        stored = _read(folder)
    except AlteredError as error:
        stored = {}
        report(error.remade)

    def missing() -> list[str]:
        return [n for n, key in keys.items() if n not in stored or stored[n].key != key]

    if missing():
        captions = records()
        with contextlib.ExitStack() as stack:
            with unless_read_only():
                stack.enter_context(locked(folder))
            with contextlib.suppress(AlteredError):
                stored = _read(folder)  # another process may have added some since
            for name in missing():
                values, per_image = scores[name]["values"], scores[name]["per_image"]
                known = Scores(values=values, per_image=per_image)
                if name in unbuilt:
                    prepared: Statistic | None = _means(known, captions)
                else:
                    prepared = statistic(scored[name], known, captions)
                stored[name] = _resample(keys[name], prepared, values)
            with unless_read_only():
                _write(folder, stored)
    chosen = [stored[name] for name in scored if stored[name].names]
    if not chosen:
        return None
    return Replicates(
        names=tuple(name for each in chosen for name in each.names),
        images=images,
        observed=np.concatenate([each.observed for each in chosen])[None],
        drawn=np.concatenate([each.drawn for each in chosen], axis=1),
        seed=SEED,
    )


def resampled(
    records: Sequence[Record], scored: Sequence[tuple[MetricConfig, Scores]]
) -> Replicates | None:
    """Resample the scores of some records by several metrics, without storing anything.

    Returns:
        The replicates of one seed for all scores that can be resampled; None if none can.
    """
    statistics = [statistic(metric, scores, records) for metric, scores in scored]
    parts = [replicate(each, resamples=RESAMPLES, seed=SEED) for each in statistics if each]
    return side_by_side(parts) if parts else None


def score_intervals(
    replicates: Replicates, metrics: Sequence[MetricConfig]
) -> dict[str, list[float]]:
    """Return the interval of each score of a cell over images, as its row has it."""
    ranges = {name: scale_of(metrics, name).range for name in replicates.names}
    estimates = bootstrap_interval(replicates, ranges=ranges)
    return {name: list(each.bounds) for name, each in estimates.items()}


def side_by_side(parts: Sequence[Replicates]) -> Replicates:
    """Join replicates of different scores of the same captions."""
    return attrs.evolve(
        parts[0],
        names=tuple(name for part in parts for name in part.names),
        observed=np.concatenate([part.observed for part in parts], axis=1),
        drawn=np.concatenate([part.drawn for part in parts], axis=1),
    )


def statistic(metric: MetricConfig, scores: Scores, records: Sequence[Record]) -> Statistic | None:
    """Prepare the scores of some records for resampling.

    Returns:
        The metric's own statistic if its scores are not means over images; otherwise the scores
        that are means of per-image scores; None if there are none, such as a vocabulary's size.
    """
    if not scores.values:
        return None
    built = metric.build()
    if isinstance(built, Resamplable):
        return built.statistic([*map(readable, records)])
    return _means(scores, records)


def _means(scores: Scores, records: Sequence[Record]) -> Mean | None:
    means = {
        name: values
        for name, values in scores.per_image.items()
        if name in scores.values and np.isclose(np.mean(values), scores.values[name])
    }
    return Mean(means, [record.image for record in records]) if means else None


def _resample(
    key: str, prepared: Statistic | None, values: Mapping[str, float]
) -> StoredReplicates:
    if prepared is None:
        return StoredReplicates(key, (), np.zeros(0), np.zeros((RESAMPLES, 0)))
    drawn = replicate(prepared, resamples=RESAMPLES, seed=SEED)
    unknown = [name for name in drawn.names if name not in values]
    if unknown:
        raise PrefixcapError(
            f"a metric resamples {unknown[0]!r}, which is not one of its scores {list(values)}"
        )
    return StoredReplicates(key, drawn.names, drawn.observed[0], drawn.drawn)


def _key(scores_key: str) -> str:
    return specs.digest(FORMAT, scores_key, RESAMPLES, SEED)


def _read(folder: Path) -> dict[str, StoredReplicates]:
    arrays, info = read_tensors(folder / REPLICATES) or ({}, {})
    return {
        name: StoredReplicates(
            each["key"],
            tuple(each["names"]),
            arrays[f"{name}/observed"],
            arrays[f"{name}/drawn"],
        )
        for name, each in info.items()
    }


def _write(folder: Path, stored: Mapping[str, StoredReplicates]) -> None:
    info = {name: {"key": each.key, "names": each.names} for name, each in stored.items()}
    arrays = {
        f"{name}/{array}": np.ascontiguousarray(getattr(each, array))
        for name, each in stored.items()
        for array in ("observed", "drawn")
    }
    write_tensors(folder / REPLICATES, arrays, info)
