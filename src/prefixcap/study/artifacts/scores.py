"""Scores of a cell: each metric's kept by itself, so that another one costs only its scoring."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from prefixcap.evaluation.evaluate import (
    caption_fields,
    claim_scores,
    score,
    unmet_requirement,
)
from prefixcap.interfaces.component import Component
from prefixcap.interfaces.dataset import Example
from prefixcap.interfaces.metric import MetricConfig, Record, Scores
from prefixcap.plugin import specs
from prefixcap.study.artifacts.folder import SCORES
from prefixcap.study.artifacts.keys import part_key
from prefixcap.study.artifacts.locks import locked
from prefixcap.util.files import read_json, write_json

if TYPE_CHECKING:
    from torch import Tensor

    from prefixcap.interfaces.text_encoder import TextEncoder


@attrs.frozen
class CellScores:
    """What the metrics say of one cell.

    Attributes:
        values: the corpus scores by name.
        scored: how many metrics were computed by this process.
        left_out: of each metric that the captions lack something for, what that is.
    """

    values: dict[str, float]
    scored: int
    left_out: dict[str, str]


def records(
    examples: Sequence[Example],
    lines: Sequence[dict[str, Any]],
    features: Tensor | None = None,
    text_encoder: TextEncoder | None = None,
) -> list[Record]:
    """Puts captions beside their references and their images.

    Args:
        examples: B examples.
        lines: `image` and `captions` of each.
        features: (B,D) or (B,N,D) of the images.
        text_encoder: the texts' side of the encoder that made the features.
    """
    found = []
    for row, (example, line) in enumerate(zip(examples, lines, strict=True)):
        found.append(
            Record(
                image=example.image.id,
                references=example.references,
                **caption_fields(line["captions"]),
                item=example.image,
                feature=None if features is None else features[row],
                text_encoder=text_encoder,
            )
        )
    return found


def missing(folder: Path, key: str, metrics: Sequence[MetricConfig]) -> list[MetricConfig]:
    """Returns the metrics that a cell has not been scored by."""
    kept = read_json(folder / SCORES) or {}
    return [
        metric
        for metric in metrics
        if kept.get(specs.to_spec(metric), {}).get("key") != _key(key, metric)
    ]


def _key(key: str, metric: MetricConfig) -> str:
    return specs.digest(
        key, metric, *map(_part, metric.subcomponents()), *metric.external_digests()
    )


@cache
def _part(config: Component) -> str:
    return part_key(config, "cpu")


def cell_scores(
    folder: Path,
    key: str,
    found: Sequence[Record],
    metrics: Sequence[MetricConfig],
    progress: Callable[[int, MetricConfig, float], None] | None = None,
) -> CellScores:
    """Scores a cell, and keeps each metric's scores with those of every image.

    A metric that the captions lack something for, such as a second caption an image, is left out.

    Args:
        folder: the cell's folder.
        key: a digest of what made the captions and the references.
        found: the captions with their references.
        metrics: what to score by.
        progress: called with how many metrics were computed, the last of them, and its seconds.

    Raises:
        PrefixcapError: a metric lacks what it needs, or two give one score.
    """
    values: dict[str, float] = {}
    left_out: dict[str, str] = {}
    given: dict[str, str] = {}
    scored = 0
    with locked(folder):
        kept = read_json(folder / SCORES) or {}
        for metric in metrics:
            name = specs.to_spec(metric)
            metric_key = _key(key, metric)
            if kept.get(name, {}).get("key") != metric_key:
                begin = time.perf_counter()
                reason = unmet_requirement(found, metric)
                result = Scores(values={}) if reason else score(found, metric)
                scored += 1
                if progress is not None:
                    progress(scored, metric, time.perf_counter() - begin)
                per_image = {k: list(v) for k, v in result.per_image.items()}
                kept[name] = {
                    "key": metric_key,
                    "values": dict(result.values),
                    "per_image": per_image,
                    **({"left_out": reason} if reason else {}),
                }
                write_json(folder / SCORES, kept)
            claim_scores(given, metric, kept[name]["values"])
            values |= kept[name]["values"]
            if "left_out" in kept[name]:
                left_out[name] = kept[name]["left_out"]
    return CellScores(values, scored, left_out)
