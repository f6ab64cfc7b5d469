"""Own scores beside published ones, each with a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs

from prefixcap.errors import PrefixcapError, listed
from prefixcap.evaluation.evaluate import evaluate
from prefixcap.evaluation.readers import read_records
from prefixcap.evaluation.stats import Estimate, Replicates
from prefixcap.interfaces.metric import MetricConfig, Record, Scores
from prefixcap.plugin import specs
from prefixcap.plugin.registry import default_registry
from prefixcap.publication.published import matching
from prefixcap.publication.published.targets import PublishedValue, Target
from prefixcap.study.analysis.analyze import analyze, compute, scales
from prefixcap.study.analysis.reader import load_study
from prefixcap.study.analysis.rows import FIELDS, TableRow
from prefixcap.study.artifacts.replicates import resampled
from prefixcap.util.progress import Reporter, Silent

FEW = 0.01
"""The share of the images that may be missing."""
INSIDE: Literal["inside"] = "inside"
OUTSIDE: Literal["outside"] = "outside"
NOT_COMPARABLE: Literal["not comparable"] = "not comparable"


@attrs.frozen(kw_only=True)
class Verdict:
    """An own score beside a published one.

    Attributes:
        score: Its name.
        published: The published score.
        own: The own score with its interval; None if there is none.
        verdict: "inside" if the published score, as far as its rounding leaves it open, may be in
            the interval, "outside", or "not comparable".
        reason: Why scores are not comparable, or how far the published one is from the interval.
    """

    score: str
    published: PublishedValue
    own: Estimate | None
    verdict: Literal["inside", "outside", "not comparable"]
    reason: str = ""


@attrs.frozen(kw_only=True)
class PublishedComparison:
    """Own results beside a published one.

    Attributes:
        target: The published result.
        of: What is compared: a row of a study, or files.
        verdicts: One for each published score.
        level: The confidence level of the intervals.
        images: The number of images.
        seeds: The number of trainings.
        notes: What a reader should know.
    """

    target: Target
    of: str
    verdicts: tuple[Verdict, ...]
    level: float
    images: int
    seeds: int
    notes: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        """Whether scores are comparable, and all that are agree."""
        found = {each.verdict for each in self.verdicts} - {NOT_COMPARABLE}
        return found == {INSIDE}

    def to_json(self) -> dict[str, Any]:
        """Return what `reproduce --json` prints."""
        data = attrs.asdict(self, filter=lambda field, _: field.name != "target")
        return {**data, "target": self.target.to_json(), "agrees": self.agrees}


def compare_study(target: Target, folder: Path) -> PublishedComparison:
    """Compare the row of a study that has a target's settings with the published result.

    Raises:
        PrefixcapError: If the folder holds no study.
    """
    study = load_study(folder)
    analysis = analyze(study)
    row, problem, notes = matching.find_row(target, study, analysis)
    problem = problem or _image_problem(target, len(study.images), notes)
    if not study.complete:
        notes.append("The study is not finished.")
    return _comparison(
        target,
        of=f"{folder}, {row.label}",
        row=row,
        problem=problem,
        level=analysis.level,
        images=len(study.images),
        seeds=len(row.seeds),
        lacking="the study has no {score}: run it again with --metrics {metrics}",
        notes=notes,
    )


def compare_files(
    target: Target,
    predictions: Sequence[Path],
    references: Path | None = None,
    *,
    common: bool = False,
    reporter: Reporter | None = None,
) -> PublishedComparison:
    """Compare files of predictions, one for each seed, with a published result.

    Args:
        target: The published result.
        predictions: The files, as `eval` reads them.
        references: A file of references, if the predictions have none.
        common: Whether to ignore images that are in only one of the files.
        reporter: Receives progress messages.

    Raises:
        PrefixcapError: If a file is broken, or the files have other images.
    """
    each = [read_records(path, references, common=common) for path in predictions]
    ids = [record.image for record in each[0]]
    records = [_ordered(own, ids, path) for own, path in zip(each, predictions, strict=True)]
    notes = ["The settings that made the predictions are not known."]
    problem = _image_problem(target, len(ids), notes)
    row, level = _scored_row(target, records, notes, reporter or Silent())
    return _comparison(
        target,
        of=", ".join(map(str, predictions)),
        row=row,
        problem=problem,
        level=level,
        images=len(ids),
        seeds=len(predictions),
        lacking="{metrics} gives no {score} here",
        notes=notes,
    )


def _ordered(records: Sequence[Record], ids: Sequence[str], path: Path) -> list[Record]:
    by_image = {record.image: record for record in records}
    if by_image.keys() != {*ids}:
        raise PrefixcapError(f"{path} has not the images of the first file of predictions")
    return [by_image[image] for image in ids]


def _scored_row(
    target: Target, runs: Sequence[Sequence[Record]], notes: list[str], reporter: Reporter
) -> tuple[TableRow, float]:
    """Score predictions, and pool them as the seeds of one row of a study."""
    metrics = _usable(target, notes)
    rows, cells = [], {}
    with reporter.task("scoring", len(runs), "files") as task:
        for seed, records in enumerate(runs):
            values, drawn = _scored(records, metrics)
            if drawn is not None:
                cells[str(seed)] = drawn
            fields = dict.fromkeys(FIELDS, "")
            rows.append({**fields, "seed": seed, "cell": str(seed), "scores": values})
            task.update(seed + 1)
    analysis = compute(rows, [], cells, scales=scales(metrics, rows))
    return analysis.entries[0], analysis.level


def _scored(
    records: Sequence[Record], metrics: Sequence[MetricConfig]
) -> tuple[dict[str, float], Replicates | None]:
    scored: list[tuple[MetricConfig, Scores]] = []
    values = evaluate(records, metrics, scored=lambda metric, own: scored.append((metric, own)))
    return dict(values.values), resampled(records, scored)


def _usable(target: Target, notes: list[str]) -> list[MetricConfig]:
    """Return a target's metrics that can be built here, and note the others."""
    usable = []
    for spec in specs.split_list(target.metrics):
        metric = default_registry().parse(MetricConfig, spec)
        try:
            metric.build()
            usable.append(metric)
        except PrefixcapError as error:
            notes.append(f"{spec} was not computed: {error}.")
    if not usable:
        raise PrefixcapError(notes[-1])
    return usable


def _image_problem(target: Target, images: int, notes: list[str]) -> str:
    if target.images is None or images == target.images:
        return ""
    text = f"{images:,} images, and the published scores are over {target.images:,}"
    if images < (1 - FEW) * target.images or images > target.images:
        return f"there are {text}"
    notes.append(f"There are {text}.")
    return ""


def _comparison(
    target: Target,
    *,
    of: str,
    row: TableRow,
    problem: str,
    level: float,
    images: int,
    seeds: int,
    lacking: str,
    notes: list[str],
) -> PublishedComparison:
    verdicts = []
    for score, value in target.values.items():
        own = row.estimate(score) if score in row.scores else None
        reason = problem
        if own is None:
            reason = lacking.format(score=score, metrics=target.metrics)
        verdicts.append(judge(score, value, own, reason))
    if seeds == 1:
        notes.append("One training: another seed may differ by more than the interval.")
    return PublishedComparison(
        target=target,
        of=of,
        verdicts=tuple(verdicts),
        level=level,
        images=images,
        seeds=seeds,
        notes=(*notes, *target.notes),
    )


def judge(
    score: str, published: PublishedValue, own: Estimate | None, problem: str = ""
) -> Verdict:
    """Compare an own score with a published one; `problem` is why they are not comparable."""
    if own is None or problem or own.low is None or own.high is None:
        reason = f"because {problem or 'the score has no interval'}"
        return Verdict(
            score=score, published=published, own=own, verdict=NOT_COMPARABLE, reason=reason
        )
    low, high = own.low - published.rounding, own.high + published.rounding
    if low <= published.value <= high:
        return Verdict(score=score, published=published, own=own, verdict=INSIDE)
    side, distance = (
        ("above", published.value - own.high)
        if published.value > high
        else ("below", own.low - published.value)
    )
    reason = f"the published score is {distance:.4g} {side} the interval"
    return Verdict(score=score, published=published, own=own, verdict=OUTSIDE, reason=reason)


def summary(verdicts: Sequence[Verdict]) -> str:
    """Return how many verdicts of each kind there are, in words."""
    counts: Mapping[str, int] = {
        name: sum(each.verdict == name for each in verdicts)
        for name in (INSIDE, OUTSIDE, NOT_COMPARABLE)
    }
    return listed(f"{count} {name}" for name, count in counts.items() if count)
