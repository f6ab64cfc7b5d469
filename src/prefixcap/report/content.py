"""The content of a report, before it becomes a page, figures and tables."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import attrs

from prefixcap.evaluation.stats import Difference, Estimate
from prefixcap.interfaces.metric import NO_SCALE, Scale
from prefixcap.report.gaps import GapRow

BEST, TIED = "best", "tied"
SPEED = "captions/s"


@attrs.frozen(kw_only=True)
class ReportRow:
    """One row of the report's table: a point of the grid, with all seeds or one, or a baseline.

    Attributes:
        id: Its name in the page, such as "c3".
        label: Its label outside the table.
        prefix_length: P; None for a baseline.
        panel: The mapper and other fields that vary (tuning, encoder, language model); the rows of
            a panel are drawn together.
        columns: The texts of its first columns in the table, by the column's name.
        marks: BEST for a score that is the best of its column, TIED for one that does not differ
            significantly from the best, by name.
        facts: Speed, parameters and times by name.
        baseline: Whether its captions need no model.
    """

    id: str
    label: str
    mapper: str = ""
    prefix_length: int | None = None
    decoder: str = ""
    panel: str = ""
    columns: Mapping[str, str] = attrs.field(factory=dict)
    seeds: tuple[int, ...] = ()
    scores: Mapping[str, Estimate] = attrs.field(factory=dict)
    marks: Mapping[str, str] = attrs.field(factory=dict)
    facts: Mapping[str, float] = attrs.field(factory=dict)
    baseline: bool = False


@attrs.frozen(kw_only=True)
class Curve:
    """The losses of one training.

    Attributes:
        id: The name of the model's folder.
        panel: The panel in which it is drawn, as `ReportRow.panel`.
        prefix_length: P.
        columns: The texts of its first columns in the table, by the column's name.
        steps: The training loss of every step.
        train: The mean training loss of every epoch.
        val: The validation loss after every epoch; empty without a validation split.
        best: The epoch whose weights were saved, from 1.
        facts: Parameters and times by name.
    """

    id: str
    panel: str
    prefix_length: int
    seed: int
    columns: Mapping[str, str]
    steps: tuple[float, ...]
    train: tuple[float, ...]
    val: tuple[float, ...]
    best: int
    facts: Mapping[str, float] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Gallery:
    """Images with the captions of every cell and baseline.

    Attributes:
        names: The names of the columns of captions, one per cell.
        baselines: How many of the columns, the last ones, are baselines.
        images: The images that are shown: `id`, `references`, `captions` (the captions of each
            column, best first), `picture` (a data URI or None) and `size` (in pixels).
        scores: By score, the score of every shown image in every column; None for a column
            without it.
        first: The column that is shown first.
        second: The column that it is compared with, if there is another.
        total: The number of images of the study.
    """

    names: Sequence[str]
    baselines: int
    images: Sequence[Mapping[str, Any]]
    scores: Mapping[str, Sequence[Sequence[float | None] | None]]
    first: int
    second: int | None
    total: int


@attrs.frozen(kw_only=True)
class Content:
    """Everything in a report.

    Attributes:
        quality: The main score.
        rows: The rows of the grid with all seeds, and the baselines.
        single: The rows of single seeds, and the baselines; empty if there is one seed.
        score_names: The scores of the table, in order.
        fact_names: The facts of the table, in order.
        pairs: The differences in the main score, by the ids of two rows.
        correction: A description of the tests: how p-values were adjusted, and the level.
        level: The confidence level.
        images: The number of captioned images.
        settings: The study's settings as shown, by name.
        config: The study's `config.json`, as text.
        study_file: The study as a file for `bench`; "" if one of its plugins is not installed.
        versions: The versions that the study and the report were made with.
        scale: How the main score is read.
        headlines: The scores of a paper's table.
        diversity: The measure of diversity, if one was scored.
        findings: Sentences about the results.
        warnings: Sentences about problems that make the numbers wrong.
        notes: Sentences about what is missing or was left out.
        gallery: The images with their captions, if wanted.
        gaps: The gap between texts and images, before and after each bridge.
    """

    title: str
    quality: str
    rows: Sequence[ReportRow]
    single: Sequence[ReportRow]
    score_names: Sequence[str]
    fact_names: Sequence[str]
    pairs: Mapping[tuple[str, str], Difference]
    correction: str
    level: float
    images: int
    curves: Sequence[Curve]
    settings: Mapping[str, str]
    config: str
    study_file: str
    folder: str
    versions: Mapping[str, str]
    date: str
    scale: Scale = NO_SCALE
    headlines: Collection[str] = ()
    diversity: str | None = None
    findings: Sequence[str] = ()
    warnings: Sequence[str] = ()
    notes: Sequence[str] = ()
    gallery: Gallery | None = None
    gaps: Sequence[GapRow] = ()

    def ranked(self, rows: Sequence[ReportRow]) -> list[ReportRow]:
        """Return rows that have the main score, the best first; the highest if none is better."""
        return sorted(rows, key=lambda row: -self.scale.sign * row.scores[self.quality].value)

    @property
    def has_intervals(self) -> bool:
        """Whether a score of the table has a confidence interval."""
        return any(each.low is not None for row in self.rows for each in row.scores.values())

    @property
    def grid(self) -> list[ReportRow]:
        """The rows with a model that have the main score."""
        return [row for row in self.rows if not row.baseline and self.quality in row.scores]

    @property
    def baselines(self) -> list[ReportRow]:
        """The baselines that have the main score."""
        return [row for row in self.rows if row.baseline and self.quality in row.scores]
