"""The two sides of a comparison: their captions on the same images, scored and resampled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Self

import attrs
import numpy as np

from prefixcap.errors import PrefixcapError
from prefixcap.evaluation.image_names import ImageNames
from prefixcap.evaluation.stats import Array, Replicates, replicate
from prefixcap.interfaces.metric import MetricConfig, Record, Scores
from prefixcap.plugin import specs
from prefixcap.study.analysis.analyze import pool, records
from prefixcap.study.analysis.reader import SavedStudy
from prefixcap.study.analysis.rows import TableRow
from prefixcap.study.analysis.selectors import SEPARATOR, Selection
from prefixcap.study.artifacts import replicates


@attrs.define(kw_only=True, slots=False)
class Side:
    """One side of a comparison: a table row of a study, or a file of predictions.

    Attributes:
        label: Its name.
        study: Its study; None for a file.
        row: Its table row; None for a file.
        given: The records of each seed, if they are not all of the row's.
    """

    label: str
    study: SavedStudy | None = None
    row: TableRow | None = None
    given: list[list[Record]] | None = None

    @classmethod
    def of_row(cls, study: SavedStudy, row: TableRow) -> Self:
        """Return the side of a table row, whose captions are read on first use."""
        return cls(label=f"{study.folder}{SEPARATOR}{row.label}", study=study, row=row)

    @classmethod
    def of(cls, selection: Selection, references: Path | None = None) -> Self:
        """Return the side of a selection's only row, or of a file of predictions.

        A file of references is for predictions without them.

        Raises:
            PrefixcapError: As `read_records`, or if the selection has several rows.
        """
        if selection.study is not None:
            return cls.of_row(selection.study, selection.row)
        from prefixcap.evaluation.readers import read_records

        return cls(label=str(selection.path), given=[read_records(selection.path, references)])

    @cached_property
    def seeds(self) -> list[list[Record]]:
        """The records of each seed, all with the same images in the same order."""
        if self.given is not None or self.study is None or self.row is None:
            return self.given or []
        return [records(self.study, self.study.cells[cell]) for cell in self.row.cells]

    @property
    def seed_count(self) -> int:
        """The number of seeds, 1 for captions without any."""
        return len(self.row.cells if self.given is None and self.row else self.seeds)

    @cached_property
    def images(self) -> Sequence[str]:
        """The images, in the order of the records."""
        if self.given is None and self.study is not None:
            return self.study.ids
        return tuple(record.image for record in self.records)

    @property
    def references(self) -> list[tuple[str, ...]]:
        """The references of each image."""
        if self.given is None and self.study is not None:
            return [image.references for image in self.study.images]
        return [record.references for record in self.records]

    @property
    def records(self) -> list[Record]:
        """The records of the first seed."""
        return self.seeds[0]

    @property
    def fixed(self) -> bool:
        """Whether it has no seeds."""
        return self.row is not None and self.row.baseline

    def renamed(self, ids: Sequence[str]) -> Self:
        """Return the side with its images named as in a list of ids, where their names meet.

        Raises:
            PrefixcapError: If several ids may be meant.
        """
        own = self.images
        if {*own} <= {*ids}:
            return self
        names = ImageNames(dict.fromkeys(ids, ()))
        known = {image: names.find(image, self.label) or image for image in own}
        if known == dict(zip(own, own, strict=True)):
            return self
        seeds = [[attrs.evolve(r, image=known[r.image]) for r in seed] for seed in self.seeds]
        return attrs.evolve(self, given=seeds)

    def restrict(self, images: Sequence[str]) -> Self:
        """Return the side with some of its images, in the given order."""
        if [*images] == [*self.images]:
            return self
        seeds = [{record.image: record for record in seed} for seed in self.seeds]
        return attrs.evolve(self, given=[[seed[image] for image in images] for seed in seeds])

    @cached_property
    def computed(self) -> dict[str, list[Scores]]:
        """The scores of each seed that were computed here, by the metric's spec."""
        return {}

    def replicates(self, metrics: Sequence[MetricConfig], *, stored: bool) -> Replicates:
        """Return the scores on resampled images, pooled over seeds.

        They are computed, or `stored` in the study's folder.
        """
        if stored and self.study is not None and self.row is not None:
            each = []
            for name in self.row.cells:
                cell = self.study.cells[name]
                read = partial(records, self.study, cell)
                each.append(replicates.replicates(cell.folder, self.study.ids, read, metrics))
        else:
            each = [self._compute(seed, metrics) for seed in self.seeds]
        known = [one for one in each if one is not None]
        if not known:
            raise PrefixcapError(
                f"{self.label}: none of the metrics gives a score that can be resampled; choose "
                "others with --metrics, such as cider"
            )
        return pool(known)

    def per_image(self, *, stored: bool) -> dict[str, Array]:
        """Return each score of every image (I), the mean over seeds; call `replicates` first."""
        if stored and self.study is not None and self.row is not None:
            cells = [self.study.cells[cell].read_per_image() for cell in self.row.cells]
        else:
            cells = [
                {name: list(v) for each in seed for name, v in each.per_image.items()}
                for seed in zip(*self.computed.values(), strict=True)
            ]
        names = [name for name in cells[0] if all(name in each for each in cells)] if cells else []
        return {name: np.mean([each[name] for each in cells], axis=0) for name in names}

    def _compute(
        self, seed: Sequence[Record], metrics: Sequence[MetricConfig]
    ) -> Replicates | None:
        from prefixcap.evaluation.evaluate import claim_scores, score, unmet_requirement

        each = []
        owners: dict[str, str] = {}
        for metric in metrics:
            if unmet_requirement(seed, metric) is not None:
                continue
            scores = score(seed, metric)
            claim_scores(owners, metric, scores.values)
            self.computed.setdefault(specs.to_spec(metric), []).append(scores)
            statistic = replicates.statistic(metric, scores, seed)
            if statistic is not None:
                each.append(replicate(statistic, resamples=replicates.RESAMPLES))
        return replicates.side_by_side(each) if each else None


def align(one: Side, two: Side, *, common: bool) -> tuple[Side, Side]:
    """Put two sides on the same images, by any of their names, with the same references.

    With `common`, the images that only one side has are left out.

    Raises:
        PrefixcapError: If the images differ without `common`, no image is shared, or the
            references of an image differ.
    """
    two = two.renamed(one.images)
    ids = [[*side.images] for side in (one, two)]
    for side, names in zip((one, two), ids, strict=True):
        image_id, count = Counter(names).most_common(1)[0]
        if count > 1:
            raise PrefixcapError(f"{side.label}: the image {image_id!r} appears {count} times")
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
    sides = one.restrict(both), two.restrict(both)
    references = zip(both, *(side.references for side in sides), strict=True)
    differing = [image for image, a, b in references if a != b]
    if differing:
        raise PrefixcapError(
            f"the references of {len(differing)} images differ, such as {differing[0]!r}, so no "
            f"score of {one.label} can be compared with one of {two.label}"
        )
    return sides
