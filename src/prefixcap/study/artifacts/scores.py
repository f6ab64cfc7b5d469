"""Scores of a cell, stored per metric, so that another metric costs only its own scoring."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from prefixcap.evaluation.evaluate import caption_fields, claim_scores, score, unmet_requirement
from prefixcap.interfaces.dataset import Example
from prefixcap.interfaces.metric import MetricConfig, Record, Scores
from prefixcap.plugin import specs
from prefixcap.study.artifacts import timings
from prefixcap.study.artifacts.folder import SCORES, StudyJob
from prefixcap.study.artifacts.keys import component_key
from prefixcap.study.artifacts.locks import locked
from prefixcap.study.artifacts.shapes import CELL_SCORES
from prefixcap.util.files import AlteredError, read_json, write_json
from prefixcap.util.progress import Silent

if TYPE_CHECKING:
    from torch import Tensor

    from prefixcap.interfaces.text_encoder import TextEncoder

_component_key = cache(component_key)


@attrs.frozen
class CellScores:
    """The scores of a cell.

    Attributes:
        values: Corpus scores by name.
        scored: The number of metrics that this process computed.
        skipped: For each metric whose requirements the captions do not meet, the reason.
    """

    values: dict[str, float]
    scored: int
    skipped: dict[str, str]


def records(
    examples: Sequence[Example],
    lines: Sequence[dict[str, Any]],
    features: Tensor | None = None,
    text_encoder: TextEncoder | None = None,
) -> list[Record]:
    """Combine captions with their references, images and features (B,D) or (B,N,D)."""
    return [
        Record(
            image=example.image.id,
            references=example.references,
            **caption_fields(line["captions"]),
            item=example.image,
            feature=None if features is None else features[row],
            text_encoder=text_encoder,
        )
        for row, (example, line) in enumerate(zip(examples, lines, strict=True))
    ]


def missing(folder: Path, key: str, metrics: Sequence[MetricConfig]) -> list[MetricConfig]:
    """Return the metrics by which a cell has not been scored."""
    try:
        return _missing(read_json(folder / SCORES, CELL_SCORES) or {}, key, metrics)
    except AlteredError:
        return list(metrics)


def score_cell(
    job: StudyJob, folder: Path, key: str, captions: Sequence[Record], title: str
) -> CellScores:
    """Score a cell by the metrics that are missing, and store their scores, also per image.

    A metric whose requirements the captions do not meet, such as a second caption per image, is
    left out.

    `key` is a digest of captions and references; `title` describes the work to the reporter.

    Raises:
        PrefixcapError: If a metric lacks what it needs, or if two metrics return the same score.
    """
    with locked(folder):
        try:
            stored = read_json(folder / SCORES, CELL_SCORES) or {}
        except AlteredError as error:
            stored = {}
            job.reporter.message(error.remade)
        pending = _missing(stored, key, job.study.metrics)
        with (job.reporter if pending else Silent()).task(title, len(pending), "metrics") as task:
            for done, metric in enumerate(pending, 1):
                begin = time.perf_counter()
                reason = unmet_requirement(captions, metric)
                scores = Scores(values={}) if reason else score(captions, metric)
                left_out = reason or scores.undefined
                seconds = time.perf_counter() - begin
                name = specs.to_spec(metric)
                stored[name] = {
                    "key": metric_key(key, metric),
                    "values": dict(scores.values),
                    "per_image": {k: list(each) for k, each in scores.per_image.items()},
                    **({"left_out": left_out} if left_out else {}),
                }
                write_json(folder / SCORES, stored)
                timings.record(job, timings.SCORING, name, len(captions), seconds)
                task.update(done)
    values: dict[str, float] = {}
    claimed: dict[str, str] = {}
    skipped: dict[str, str] = {}
    for metric in job.study.metrics:
        entry = stored[name := specs.to_spec(metric)]
        claim_scores(claimed, metric, entry["values"])
        values |= entry["values"]
        if "left_out" in entry:
            skipped[name] = entry["left_out"]
    return CellScores(values, len(pending), skipped)


def _missing(
    stored: dict[str, Any], key: str, metrics: Sequence[MetricConfig]
) -> list[MetricConfig]:
    return [m for m in metrics if stored.get(specs.to_spec(m), {}).get("key") != metric_key(key, m)]


def metric_key(key: str, metric: MetricConfig) -> str:
    """Digest what the scores of a metric depend on; `key` digests captions and references."""
    parts = (_component_key(part, "cpu") for part in metric.subcomponents())
    return specs.digest(key, metric, *parts, *metric.external_digests())
