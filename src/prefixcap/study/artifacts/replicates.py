"""Replicates of a cell: its scores on resampled images, computed once and kept beside them.

Resamples follow from the number of images alone, so the replicates of all cells of a study, and of
any study on the same images, are paired without having been made together.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
import numpy as np

from prefixcap.errors import PrefixcapError
from prefixcap.evaluation.stats import Mean, Replicates, Resamplable, Statistic, replicate
from prefixcap.interfaces.metric import MetricConfig, Record, Scores
from prefixcap.plugin import specs
from prefixcap.study.artifacts.folder import REPLICATES, SCORES
from prefixcap.study.artifacts.locks import locked
from prefixcap.util import files
from prefixcap.util.files import read_json

FORMAT = 1
RESAMPLES = 1000
SEED = 0


@attrs.frozen
class StoredReplicates:
    """One metric's replicates.

    Attributes:
        key: a digest of what they were computed from.
        names: the scores that can be resampled; some metrics have none.
        observed: (K).
        drawn: (S,K).
    """

    key: str
    names: tuple[str, ...]
    observed: np.ndarray
    drawn: np.ndarray


def replicates(
    folder: Path, records: Sequence[Record], metrics: Sequence[MetricConfig]
) -> Replicates | None:
    """Returns the replicates of a scored cell, and makes what is missing of them.

    Args:
        folder: the cell's folder, with its scores.
        records: the captions with their references.
        metrics: what it was scored by; others are left out.

    Returns:
        The replicates of one seed, of all scores that can be resampled; None where none can be.

    Raises:
        PrefixcapError: a metric lacks what it needs.
    """
    scores = read_json(folder / SCORES) or {}
    wanted = {n: metric for metric in metrics if (n := specs.to_spec(metric)) in scores}
    found = _read(folder)
    keys = {name: _key(scores[name]["key"]) for name in wanted}

    def missing() -> list[str]:
        return [name for name, key in keys.items() if name not in found or found[name].key != key]

    if missing():
        with locked(folder):
            found = _read(folder)  # another process may have made some in the meantime
            for name in missing():
                values, each = scores[name]["values"], scores[name]["per_image"]
                made = statistic(wanted[name], Scores(values=values, per_image=each), records)
                found[name] = _resample(keys[name], made, values)
            _write(folder, found)
    kept = [found[name] for name in wanted if found[name].names]
    if not kept:
        return None
    return Replicates(
        names=tuple(name for each in kept for name in each.names),
        images=tuple(record.image for record in records),
        observed=np.concatenate([each.observed for each in kept])[None],
        drawn=np.concatenate([each.drawn for each in kept], axis=1),
        seed=SEED,
    )


def side_by_side(found: Sequence[Replicates]) -> Replicates:
    """Joins the replicates of different scores of the same captions."""
    return attrs.evolve(
        found[0],
        names=tuple(name for each in found for name in each.names),
        observed=np.concatenate([each.observed for each in found], axis=1),
        drawn=np.concatenate([each.drawn for each in found], axis=1),
    )


def statistic(metric: MetricConfig, scores: Scores, records: Sequence[Record]) -> Statistic | None:
    """Prepares the scores of some records for resampling.

    Args:
        metric: the metric.
        scores: what it says of the records.
        records: the captions with their references.

    Returns:
        What the metric makes where its scores are no means over images; those scores that are
        means of their images' scores; None where there are none, such as a vocabulary's size.
    """
    if not scores.values:
        return None
    built = metric.build()
    if isinstance(built, Resamplable):
        return built.statistic(records)
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
    made = replicate(prepared, resamples=RESAMPLES, seed=SEED)
    unknown = [name for name in made.names if name not in values]
    if unknown:
        raise PrefixcapError(
            f"a metric resamples {unknown[0]!r}, which is none of its scores {list(values)}"
        )
    return StoredReplicates(key, made.names, made.observed[0], made.drawn)


def _key(scores_key: str) -> str:
    return specs.digest(FORMAT, scores_key, RESAMPLES, SEED)


def _read(folder: Path) -> dict[str, StoredReplicates]:
    from safetensors import SafetensorError, safe_open

    path = folder / REPLICATES
    if not path.exists():
        return {}
    try:
        with safe_open(path, framework="numpy") as file:
            about = json.loads(file.metadata()["kept"])
            return {
                name: StoredReplicates(
                    each["key"],
                    tuple(each["names"]),
                    file.get_tensor(f"{name}/observed"),
                    file.get_tensor(f"{name}/drawn"),
                )
                for name, each in about.items()
            }
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise PrefixcapError(f"{path} is broken ({error}): delete it to make it anew") from error


def _write(folder: Path, found: Mapping[str, StoredReplicates]) -> None:
    from safetensors.numpy import save

    about = {name: {"key": kept.key, "names": kept.names} for name, kept in found.items()}
    tensors = {
        f"{name}/{what}": np.ascontiguousarray(getattr(kept, what))
        for name, kept in found.items()
        for what in ("observed", "drawn")
    }
    content = save(tensors, metadata={"kept": json.dumps(about, sort_keys=True)})
    files.atomic_write(folder / REPLICATES, content)
