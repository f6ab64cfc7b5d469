"""What a report says, before it is a page, a figure or a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

BEST, TIED = "best", "tied"


@attrs.frozen(kw_only=True)
class Estimate:
    """A score with its interval, where it has one.

    Attributes:
        value: the score; the mean over seeds where there are several.
        low: the lower end of its confidence interval.
        high: the upper end.
        mark: BEST of its column, TIED where it cannot be told from the best, or "".
    """

    value: float
    low: float | None = None
    high: float | None = None
    mark: str = ""


@attrs.frozen(kw_only=True)
class Cell:
    """One line of the table: a point of the grid, its seeds together or alone; or a baseline.

    Attributes:
        id: names it in the page, such as "c3".
        label: what it is called where it stands alone.
        mapper: the mapper.
        prefix_length: P; None of a baseline.
        decoder: the decoder.
        panel: what else it differs by from other cells (tuning, encoder, language model), and its
            mapper: cells of one panel are drawn together.
        columns: what names it in the table, by the column's name.
        seeds: its seeds.
        scores: its estimates by the scores' names.
        facts: speed, parameters, times: numbers by name.
        baseline: whether it is of captions that need no model.
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
    facts: Mapping[str, float] = attrs.field(factory=dict)
    baseline: bool = False


@attrs.frozen(kw_only=True)
class Pair:
    """The difference of two cells, first minus second.

    Attributes:
        value: the difference.
        low: the lower end of its confidence interval, before correction.
        high: the upper end.
        p: the p-value, adjusted for all pairs of the table.
        real: whether `p` is below the level of the tests.
    """

    value: float
    low: float | None
    high: float | None
    p: float
    real: bool


@attrs.frozen(kw_only=True)
class Curve:
    """The losses of one training.

    Attributes:
        id: the model's folder's name.
        panel: the panel that it is drawn in, as `Cell.panel`.
        prefix_length: P.
        seed: the training's seed.
        columns: what names it in the table, by the column's name.
        steps: the training loss of every step.
        train: the mean training loss of every epoch.
        val: the loss on val after every epoch; empty without val.
        best: the epoch whose weights were kept, from 1.
        facts: parameters and times: numbers by name.
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
class Measures:
    """Which scores the figures are of.

    Attributes:
        quality: the score that the report is read by.
        more_is_better: whether a cell with more of it is the better one.
        diversity: the measure of diversity; None where none was scored.
        speed: the name of the speed among a cell's facts.
    """

    quality: str
    more_is_better: bool = True
    diversity: str | None = None
    speed: str = "captions/s"


@attrs.frozen(kw_only=True)
class Picture:
    """An image of the gallery.

    Attributes:
        id: what names it.
        references: the human captions.
        captions: the captions of every column of the gallery, best first.
        source: a data URI; None without a picture.
        size: width and height in pixels.
    """

    id: str
    references: tuple[str, ...]
    captions: tuple[tuple[str, ...], ...]
    source: str | None = None
    size: tuple[int, int] = (0, 0)


@attrs.frozen(kw_only=True)
class Gallery:
    """Images with the captions of every cell, each seed by itself, and of the baselines.

    Attributes:
        names: what the columns of captions are called.
        baselines: how many of the columns, the last ones, need no model.
        pictures: the images that are shown.
        scores: by score, the score of every shown image in every column; None for a column
            without it.
        first: the column that is shown first.
        second: the column that it is compared with; None where there is no other.
        total: how many images the study has.
    """

    names: Sequence[str]
    baselines: int
    pictures: Sequence[Picture]
    scores: Mapping[str, Sequence[Sequence[float | None] | None]]
    first: int
    second: int | None
    total: int


@attrs.frozen(kw_only=True)
class Content:
    """Everything that a report says.

    Attributes:
        title: of the page.
        measures: which scores the figures are of.
        cells: the grid's cells, their seeds together, and the baselines.
        single: the same with every seed by itself; empty where there is one seed.
        score_names: the scores of the table, in its order.
        fact_names: the facts of the table, in its order.
        pairs: the differences in the quality score, by the ids of two cells.
        correction: how the pairs' p-values were adjusted.
        level: the confidence level of intervals; tests are at 1 minus it.
        curves: the trainings.
        settings: what the study was, by name, for people.
        config: the study's `config.json`, as text.
        study_file: the study as a file for `bench`; "" where a plugin of it is not installed.
        folder: where the study is.
        versions: of what made the report and the models.
        date: when the report was written.
        findings: sentences on what came out.
        warnings: sentences on what makes the numbers wrong.
        notes: sentences on what is missing or was left out.
        gallery: the images with their captions; None where they were not wanted.
    """

    title: str
    measures: Measures
    cells: Sequence[Cell]
    single: Sequence[Cell]
    score_names: Sequence[str]
    fact_names: Sequence[str]
    pairs: Mapping[tuple[str, str], Pair]
    correction: str
    level: float
    curves: Sequence[Curve]
    settings: Mapping[str, str]
    config: str
    study_file: str
    folder: str
    versions: Mapping[str, str]
    date: str
    findings: Sequence[str] = ()
    warnings: Sequence[str] = ()
    notes: Sequence[str] = ()
    gallery: Gallery | None = None
