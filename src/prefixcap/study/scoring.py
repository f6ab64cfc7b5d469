"""Scores of a cell: each metric's kept by itself, so that another one costs only its scoring."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs

from prefixcap import specs
from prefixcap.evaluation import score
from prefixcap.kinds import Example, MetricConfig, Record
from prefixcap.study.store import locked, read_json, write_json

SCORES = "scores.json"


@attrs.frozen
class CellScores:
    """What the metrics say of one cell.

    Attributes:
        values: the corpus scores by name.
        scored: how many metrics were computed by this process.
    """

    values: dict[str, float]
    scored: int


def records(examples: Sequence[Example], lines: Sequence[dict[str, Any]]) -> list[Record]:
    """Puts captions (lines of `image` and `captions`) beside their references."""
    found = []
    for example, line in zip(examples, lines, strict=True):
        texts = tuple(caption["text"] for caption in line["captions"])
        found.append(
            Record(
                image=example.image.id,
                references=example.references,
                prediction=texts[0],
                captions=texts,
            )
        )
    return found


def missing(folder: Path, key: str, metrics: Sequence[MetricConfig]) -> list[MetricConfig]:
    """Returns the metrics that a cell has not been scored by."""
    kept = read_json(folder / SCORES) or {}
    return [
        metric
        for metric in metrics
        if kept.get(specs.to_spec(metric), {}).get("key") != specs.digest(key, metric)
    ]


def cell_scores(
    folder: Path,
    key: str,
    found: Sequence[Record],
    metrics: Sequence[MetricConfig],
    progress: Callable[[int], None] | None = None,
) -> CellScores:
    """Scores a cell, and keeps each metric's scores with those of every image.

    Args:
        folder: the cell's folder.
        key: a digest of what made the captions and the references.
        found: the captions with their references.
        metrics: what to score by.
        progress: called with how many metrics were computed.

    Raises:
        PrefixcapError: a metric lacks what it needs.
    """
    values: dict[str, float] = {}
    scored = 0
    with locked(folder):
        kept = read_json(folder / SCORES) or {}
        for metric in metrics:
            name = specs.to_spec(metric)
            metric_key = specs.digest(key, metric)
            if kept.get(name, {}).get("key") != metric_key:
                result = score(found, metric)
                scored += 1
                if progress is not None:
                    progress(scored)
                per_image = {k: list(v) for k, v in result.per_image.items()}
                kept[name] = {
                    "key": metric_key,
                    "values": dict(result.values),
                    "per_image": per_image,
                }
                write_json(folder / SCORES, kept)
            values |= kept[name]["values"]
    return CellScores(values, scored)
