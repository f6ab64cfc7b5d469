"""Scores of a cell: each metric's kept by itself, so that another one costs only its scoring."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from prefixcap import specs
from prefixcap.config import Component
from prefixcap.evaluation import (
    check_references,
    claim,
    evaluate,
    lacking,
    of_captions,
    score,
    too_few,
)
from prefixcap.kinds import Example, MetricConfig, Record, Scores
from prefixcap.study.layout import part_key
from prefixcap.study.store import locked, read_json, write_json

if TYPE_CHECKING:
    from torch import Tensor

    from prefixcap.similarity import TextSide
    from prefixcap.study.grid import Study

SCORES = "scores.json"
TRIED = 2
"""How many images metrics are tried out on before anything is trained."""


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


def check(study: Study, examples: Sequence[Example]) -> list[str]:
    """Checks a study's metrics before anything is computed; no encoder is loaded.

    Args:
        study: the study.
        examples: the test examples.

    Returns:
        Warnings of too few images or references.

    Raises:
        PrefixcapError: an image has no reference, a metric cannot be made, or two of one name both
            give a score.
    """
    check_references(examples)
    several = Counter(metric.name for metric in study.metrics)
    twice = [m for m in study.metrics if several[m.name] > 1 and "image" not in m.needs]
    for metric in study.metrics:
        metric.build()
    try_out(twice, examples[:TRIED])
    return too_few(examples, study.metrics)


def try_out(
    metrics: Sequence[MetricConfig],
    examples: Sequence[Example],
    features: Tensor | None = None,
    text_side: TextSide | None = None,
) -> None:
    """Scores references in the place of captions, so that what fails does so before the training.

    Args:
        metrics: what to try out.
        examples: B examples, a few.
        features: (B,D) or (B,N,D) of the images.
        text_side: the texts' side of the encoder that made the features.

    Raises:
        PrefixcapError: a metric lacks what it needs, or two give one score.
    """
    lines = [
        {"captions": [{"text": text, "logprob": -1.0, "tokens": 1, "finish": "stop"}] * 2}
        for text in (example.references[0] for example in examples)
    ]
    evaluate(records(examples, lines, features, text_side), metrics)


def records(
    examples: Sequence[Example],
    lines: Sequence[dict[str, Any]],
    features: Tensor | None = None,
    text_side: TextSide | None = None,
) -> list[Record]:
    """Puts captions beside their references and their images.

    Args:
        examples: B examples.
        lines: `image` and `captions` of each.
        features: (B,D) or (B,N,D) of the images.
        text_side: the texts' side of the encoder that made the features.
    """
    found = []
    for row, (example, line) in enumerate(zip(examples, lines, strict=True)):
        found.append(
            Record(
                image=example.image.id,
                references=example.references,
                **of_captions(line["captions"]),
                item=example.image,
                feature=None if features is None else features[row],
                text_side=text_side,
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
    return specs.digest(key, metric, *map(_part, metric.parts()), *metric.contents())


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
                reason = lacking(found, metric)
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
            claim(given, metric, kept[name]["values"])
            values |= kept[name]["values"]
            if "left_out" in kept[name]:
                left_out[name] = kept[name]["left_out"]
    return CellScores(values, scored, left_out)
