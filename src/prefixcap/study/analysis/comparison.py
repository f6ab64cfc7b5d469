"""Two sets of captions of the same images against each other, score by score."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from prefixcap.errors import PrefixcapError
from prefixcap.evaluation.stats import Array, Cells, Replicates, replicate
from prefixcap.interfaces.metric import MetricConfig, Record, Scores
from prefixcap.study.analysis.analysis import CORRECTIONS, LEVEL, MAIN, joined, metrics_of, records
from prefixcap.study.analysis.reader import SavedStudy
from prefixcap.study.analysis.rows import TableRow
from prefixcap.study.artifacts import replicates

SAME = 1e-12
"""Scores of an image that are this close are equal."""


@attrs.define(kw_only=True, slots=False)
class Side:
    """One side of a comparison: an entry of a study, or a file of predictions.

    Attributes:
        label: what it is called.
        seeds: the records of each seed, in the same order of images.
        finished: its study; None of a file.
        entry: its entry; None of a file.
        images: the images, where not all of the study's were taken.
    """

    label: str
    seeds: list[list[Record]]
    finished: SavedStudy | None = None
    entry: TableRow | None = None
    images: frozenset[str] | None = None

    @classmethod
    def of_entry(cls, finished: SavedStudy, entry: TableRow) -> Side:
        """Makes a side of an entry."""
        seeds = [records(finished, finished.cells[cell]) for cell in entry.cells]
        label = f"{finished.folder}::{entry.label}"
        return cls(label=label, seeds=seeds, finished=finished, entry=entry)

    @classmethod
    def of_file(cls, path: Path, references: Path | None = None) -> Side:
        """Makes a side of a file of predictions; raises as `read_records`."""
        from prefixcap.evaluation.readers import read_records

        return cls(label=str(path), seeds=[read_records(path, references)])

    @property
    def records(self) -> list[Record]:
        """The records of the first seed."""
        return self.seeds[0]

    def only(self, images: Sequence[str]) -> Side:
        """Returns the side with some of its images, in the order that is given."""
        if images == [record.image for record in self.records]:
            return self
        seeds = [{record.image: record for record in seed} for seed in self.seeds]
        kept = [[seed[image] for image in images] for seed in seeds]
        return attrs.evolve(self, seeds=kept, images=frozenset(images))

    @cached_property
    def scored(self) -> dict[str, list[Scores]]:
        """The scores of each seed, by metric, as they were computed here."""
        return {}

    def replicates(self, metrics: Sequence[MetricConfig], *, kept: bool) -> Replicates:
        """Returns the scores on resampled images, joined over seeds.

        Args:
            metrics: what to score by.
            kept: whether the study has kept them, or they are to be computed here.
        """
        if kept and self.finished is not None and self.entry is not None:
            cells = [self.finished.cells[cell] for cell in self.entry.cells]
            pairs = zip(cells, self.seeds, strict=True)
            made = [replicates.replicates(cell.folder, seed, metrics) for cell, seed in pairs]
        else:
            made = [self._computed(seed, metrics) for seed in self.seeds]
        return joined([each for each in made if each is not None] or [self._empty()])

    def per_image(self, *, kept: bool) -> dict[str, Array]:
        """Returns each score of every image (I), the mean over seeds; after `replicates`."""
        if kept and self.finished is not None and self.entry is not None:
            cells = [self.finished.cells[cell].per_image for cell in self.entry.cells]
        else:
            cells = [
                {name: list(v) for each in seed for name, v in each.per_image.items()}
                for seed in zip(*self.scored.values(), strict=True)
            ]
        names = [name for name in cells[0] if all(name in each for each in cells)] if cells else []
        return {name: np.mean([each[name] for each in cells], axis=0) for name in names}

    def _computed(
        self, seed: Sequence[Record], metrics: Sequence[MetricConfig]
    ) -> Replicates | None:
        from prefixcap.evaluation.evaluate import claim_scores, score, unmet_requirement
        from prefixcap.plugin import specs

        made = []
        given: dict[str, str] = {}
        for metric in metrics:
            if unmet_requirement(seed, metric) is not None:
                continue
            found = score(seed, metric)
            claim_scores(given, metric, found.values)
            self.scored.setdefault(specs.to_spec(metric), []).append(found)
            statistic = replicates.statistic(metric, found, seed)
            if statistic is not None:
                made.append(replicate(statistic, resamples=replicates.RESAMPLES))
        return replicates.side_by_side(made) if made else None

    def _empty(self) -> Replicates:
        raise PrefixcapError(
            f"{self.label}: none of the metrics gives a score that can be resampled; name others "
            "with --metrics, such as cider"
        )


@attrs.frozen(kw_only=True)
class Line:
    """What one score says.

    Attributes:
        score: its name.
        first: of the first side, the mean over seeds.
        second: of the second.
        difference: first minus second.
        low: the lower end of the difference's interval.
        high: the upper end.
        p: the p-value of no difference.
        adjusted: the p-value, adjusted for all lines that are shown together.
        higher: the images on which the first has more; None where single images have no score.
        equal: those on which both have the same.
        lower: those on which the first has less.
    """

    score: str
    first: float
    second: float
    difference: float
    low: float
    high: float
    p: float
    adjusted: float
    higher: int | None = None
    equal: int | None = None
    lower: int | None = None


@attrs.frozen(kw_only=True)
class Comparison:
    """Two sides, score by score.

    Attributes:
        sides: the two.
        lines: one a score.
        per_image: the differences (I) of every image, by score.
    """

    sides: tuple[Side, Side]
    lines: list[Line]
    per_image: Mapping[str, Array]

    @property
    def main(self) -> str | None:
        """The score by which images are sorted: the first main one that images have."""
        known = [*(name for name in MAIN if name in self.per_image), *self.per_image]
        return known[0] if known else None

    def furthest(self, count: int) -> list[tuple[int, float]]:
        """Returns the images on which the sides differ most, each with the difference.

        The first half are those on which the first side is higher, the highest first.
        """
        if self.main is None:
            return []
        each = self.per_image[self.main]
        order = np.argsort(-each, kind="stable")
        up = [int(n) for n in order[:count] if each[n] > SAME]
        down = [int(n) for n in order[::-1][:count] if each[n] < -SAME]
        return [(number, float(each[number])) for number in (*up, *down)]


def same_images(one: Side, two: Side, *, common: bool) -> tuple[Side, Side]:
    """Puts two sides on the same images with the same references.

    Args:
        one: a side.
        two: another.
        common: whether to leave out the images that only one has.

    Raises:
        PrefixcapError: the images differ and that was not allowed, they have none in common, or
            the references of one differ.
    """
    ids = [[record.image for record in side.records] for side in (one, two)]
    for side, names in zip((one, two), ids, strict=True):
        most, times = Counter(names).most_common(1)[0]
        if times > 1:
            raise PrefixcapError(f"{side.label}: the image {most!r} stands there {times} times")
    known = set(ids[1])
    both = [image for image in ids[0] if image in known]
    if not both:
        raise PrefixcapError(
            f"{one.label} and {two.label} have no test image in common (such as {ids[0][0]!r} and "
            f"{ids[1][0]!r})"
        )
    if not common and (len(both) < len(ids[0]) or len(both) < len(ids[1])):
        raise PrefixcapError(
            f"the test images differ: {len(ids[0])} in {one.label}, {len(ids[1])} in {two.label}, "
            f"{len(both)} in both; --common compares on those"
        )
    sides = one.only(both), two.only(both)
    pairs = zip(sides[0].records, sides[1].records, strict=True)
    unlike = [a.image for a, b in pairs if a.references != b.references]
    if unlike:
        raise PrefixcapError(
            f"the references of {len(unlike)} images differ, such as {unlike[0]!r}, so no score of "
            f"{one.label} can be compared with one of {two.label}"
        )
    return sides


def shared_metrics(one: Side, two: Side) -> list[MetricConfig]:
    """Returns the metrics that the sides' studies both have; a file goes with any."""
    from prefixcap.plugin import specs

    found = [metrics_of(side.finished) for side in (one, two) if side.finished is not None]
    if len(found) < 2:
        return found[0] if found else []
    known = {specs.to_spec(metric) for metric in found[1]}
    return [metric for metric in found[0] if specs.to_spec(metric) in known]


def compare(
    pairs: Sequence[tuple[Side, Side]],
    metrics: Sequence[MetricConfig],
    *,
    kept: bool,
    beside: Sequence[Side] = (),
    correction: str = "holm",
    across: bool = False,
    level: float = LEVEL,
) -> list[Comparison]:
    """Compares pairs of sides, each on the same images.

    Args:
        pairs: the pairs.
        metrics: what to score by.
        kept: whether replicates that the studies keep are those of the metrics and images.
        beside: other sides of the same images, whose seeds tell how much seeds vary.
        correction: the correction for many comparisons.
        across: whether p-values are adjusted over the pairs, in each score; else over the scores.
        level: the confidence level.

    Raises:
        PrefixcapError: a metric lacks what it needs, or none can be resampled.
    """
    sides = [side for pair in pairs for side in pair]
    everyone = [*sides, *beside]
    drawn = [side.replicates(metrics, kept=kept) for side in everyone]
    names = [n for n in drawn[0].names if all(n in each.names for each in drawn[: len(sides)])]
    everyone, drawn = _having(everyone, drawn, names)
    fixed = [side.entry is not None and side.entry.baseline for side in everyone]
    cells = Cells(replicates=[each.of(names) for each in drawn], fixed=fixed)
    first = np.arange(0, len(sides), 2)
    found = cells.compare(first, first + 1, level=level)
    axis = 0 if across else 1
    adjusted = np.apply_along_axis(lambda p: CORRECTIONS[correction](list(p)), axis, found.p)
    images = [side.per_image(kept=kept) for side in sides]
    comparisons = []
    for n, pair in enumerate(pairs):
        one, two = images[2 * n], images[2 * n + 1]
        each = {name: one[name] - two[name] for name in one if name in two}
        lines = [
            Line(
                score=name,
                first=float(drawn[2 * n].of([name]).observed.mean()),
                second=float(drawn[2 * n + 1].of([name]).observed.mean()),
                difference=float(found.value[n, k]),
                low=float(found.low[n, k]),
                high=float(found.high[n, k]),
                p=float(found.p[n, k]),
                adjusted=float(adjusted[n, k]),
                **(_counts(each[name]) if name in each else {}),
            )
            for k, name in enumerate(names)
        ]
        comparisons.append(Comparison(sides=pair, lines=lines, per_image=each))
    return comparisons


def _having(
    sides: Sequence[Side], drawn: Sequence[Replicates], names: Sequence[str]
) -> tuple[list[Side], list[Replicates]]:
    pairs = [(s, d) for s, d in zip(sides, drawn, strict=True) if set(names) <= set(d.names)]
    return [side for side, _ in pairs], [each for _, each in pairs]


def _counts(differences: Array) -> dict[str, Any]:
    higher, lower = int((differences > SAME).sum()), int((differences < -SAME).sum())
    return {"higher": higher, "equal": len(differences) - higher - lower, "lower": lower}
