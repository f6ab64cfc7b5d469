"""Compare rows, studies or files of predictions."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from prefixcap.errors import PrefixcapError, PrefixcapWarning
from prefixcap.evaluation.evaluate import FILE_METRICS, without_spaces
from prefixcap.evaluation.stats import Array, CellTable
from prefixcap.interfaces.metric import MetricConfig, scale_of
from prefixcap.plugin import specs
from prefixcap.plugin.registry import default_registry
from prefixcap.study.analysis.analysis import LEVEL, correction_for
from prefixcap.study.analysis.analyze import metrics_of
from prefixcap.study.analysis.comparison import (
    EQUAL,
    Comparison,
    Pair,
    PairComparison,
    ScoreComparison,
)
from prefixcap.study.analysis.config_diff import ConfigDiff, diff_rows, diff_studies
from prefixcap.study.analysis.reader import SavedStudy
from prefixcap.study.analysis.rows import match_rows, table_rows
from prefixcap.study.analysis.score_pairs import CORRECTIONS
from prefixcap.study.analysis.selectors import SEPARATOR, Selection, select
from prefixcap.study.analysis.sides import Side, align


def compare(
    a: str | Path | SavedStudy | Selection,
    b: str | Path | SavedStudy | Selection,
    *,
    metrics: Sequence[str | MetricConfig] | None = None,
    references: Path | None = None,
    common: bool = False,
    correction: str | None = None,
) -> Comparison:
    """Compare two rows, two files of predictions, or two studies row by row.

    Args:
        a: A study or its folder, a selector such as `runs/x::mlp 10 beam`, or a file of
            predictions.
        b: The other; `::mlp 10 beam` selects from the study of `a`.
        metrics: Metrics to score by again; by default those that both studies have.
        references: A file of references, for files of predictions without them.
        common: Whether to compare on the test images that both have, if images differ.
        correction: The correction for multiple comparisons, "holm" or "benjamini-hochberg"; by
            default the studies' own.

    Raises:
        PrefixcapError: If nothing has that name, or the two cannot be compared.
    """
    one = a if isinstance(a, Selection) else select(a)
    two = b if isinstance(b, Selection) else select(b, one)
    studies = [each.study for each in (one, two) if each.study is not None]
    correction = correction_for(*studies, chosen=correction)
    unmatched: tuple[Sequence[str], Sequence[str]] = ((), ())
    if one.study is not None and two.study is not None and len(one.rows) > 1:
        rows, unmatched = match_rows(one.rows, two.rows)
        if not rows:
            raise PrefixcapError(
                f"no row of {one.text} has a counterpart in {two.text}: select one of each with "
                f"{SEPARATOR}, such as {one.path}{SEPARATOR}{one.rows[0].label!r}"
            )
        pairs = [(Side.of_row(one.study, r), Side.of_row(two.study, s)) for r, s in rows]
        diff = diff_studies(one.study, two.study)
    else:
        pairs = [(Side.of(one, references), Side.of(two, references))]
        diff = _diff(*pairs[0])
    aligned = [align(*pair, common=common) for pair in pairs]
    used = _metrics(aligned[0], metrics)
    for text in without_spaces([r for side in aligned[0] for r in side.records], used):
        warnings.warn(text, PrefixcapWarning, stacklevel=2)
    # scores and replicates in a study's folder are those of its own metrics and images
    stored = metrics is None and all(
        side is aligned_side and side.row is not None
        for pair, aligned_pair in zip(pairs, aligned, strict=True)
        for side, aligned_side in zip(pair, aligned_pair, strict=True)
    )
    labels = (pairs[0][0].label, pairs[0][1].label)
    return Comparison(
        names=labels if len(pairs) == 1 else (one.text, two.text),
        pairs=_compare(aligned, used, stored=stored, correction=correction),
        unmatched=unmatched,
        config_diff=diff,
        correction=correction,
    )


def _diff(one: Side, two: Side) -> ConfigDiff:
    if one.study is None or two.study is None or one.row is None or two.row is None:
        return {}
    diff = diff_rows(one.study, one.row, two.study, two.row)
    if not diff and one.row.cells == two.row.cells:
        raise PrefixcapError(f"{one.label!r} and {two.label!r} are the same row of one study")
    return diff


def _metrics(pair: Pair, metrics: Sequence[str | MetricConfig] | None) -> list[MetricConfig]:
    """Return the given metrics, or those that both studies have; a file has any."""
    studies = [side.study for side in pair if side.study is not None]
    if metrics is None and studies:
        known = [metrics_of(study) for study in studies]
        names = {specs.to_spec(metric) for metric in known[-1]}
        shared = [metric for metric in known[0] if specs.to_spec(metric) in names]
        if not shared:
            raise PrefixcapError(
                f"{pair[0].label} and {pair[1].label} share no metric: choose some with --metrics"
            )
        return shared
    chosen = FILE_METRICS if metrics is None else metrics
    return [default_registry().parse(MetricConfig, metric) for metric in chosen]


def _compare(
    pairs: Sequence[Pair], metrics: Sequence[MetricConfig], *, stored: bool, correction: str
) -> list[PairComparison]:
    table = _table(pairs, metrics, stored=stored)
    first = np.arange(0, 2 * len(pairs), 2)
    differences = table.compare(first, first + 1, level=LEVEL)
    # (pairs,K): over the scores of one pair, or over the pairs in each score
    axis = 1 if len(pairs) == 1 else 0
    adjust = CORRECTIONS[correction]
    adjusted = np.apply_along_axis(lambda p: adjust(list(p)), axis, differences.p)
    observed = [each.observed.mean(axis=0) for each in table.replicates]
    images = [side.per_image(stored=stored) for pair in pairs for side in pair]
    comparisons = []
    for n, pair in enumerate(pairs):
        one, two = images[2 * n], images[2 * n + 1]
        per_image = {name: one[name] - two[name] for name in one if name in two}
        scores = {
            name: ScoreComparison(
                score=name,
                first=float(observed[2 * n][k]),
                second=float(observed[2 * n + 1][k]),
                difference=differences.difference(n, k, adjusted[n, k]),
                **(_counts(per_image[name]) if name in per_image else {}),
            )
            for k, name in enumerate(differences.names)
        }
        known = {name: scale_of(metrics, name) for name in {*scores, *per_image}}
        comparisons.append(
            PairComparison(sides=pair, scores=scores, per_image=per_image, scales=known)
        )
    return comparisons


def _table(pairs: Sequence[Pair], metrics: Sequence[MetricConfig], *, stored: bool) -> CellTable:
    """Return the sides of all pairs, in order, in the scores that all of them have."""
    sides = [side for pair in pairs for side in pair]
    drawn = [side.replicates(metrics, stored=stored) for side in sides]
    names = [name for name in drawn[0].names if all(name in each.names for each in drawn)]
    # a pair of one study is tested as in the study's own table, with its pooled variance
    for other in _others(*pairs[0]) if len(pairs) == 1 and stored else ():
        replicates = other.replicates(metrics, stored=True)
        if {*names} <= {*replicates.names}:
            sides.append(other)
            drawn.append(replicates)
    fixed = [side.fixed for side in sides]
    return CellTable(replicates=[each.of(names) for each in drawn], fixed=fixed)


def _others(one: Side, two: Side) -> list[Side]:
    """Return the other rows of the study, if both sides are of one and its rows have seeds."""
    study = one.study
    if study is None or two.study is None or one.row is None or two.row is None:
        return []
    if study.folder != two.study.folder:
        return []
    cells = {*one.row.cells, *two.row.cells}
    rows = table_rows(study.rows, study.baselines)
    if all(len(row.cells) < 2 for row in rows):  # nothing to pool
        return []
    return [Side.of_row(study, row) for row in rows if cells.isdisjoint(row.cells)]


def _counts(differences: Array) -> dict[str, int]:
    higher, lower = int((differences > EQUAL).sum()), int((differences < -EQUAL).sum())
    return {"higher": higher, "equal": len(differences) - higher - lower, "lower": lower}
