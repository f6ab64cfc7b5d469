"""What a study's numbers say: its entries with intervals, and all pairs of them compared.

`analyse(read(folder))` is kept in the folder as `analysis.json`, so a second time is quick.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from itertools import compress
from pathlib import Path
from typing import Any

import attrs

from prefixcap.errors import PrefixcapError, nearest
from prefixcap.evaluation.stats import (
    Cells,
    Pairs,
    Replicates,
    benjamini_hochberg,
    bootstrap_interval,
    combined,
    holm,
)
from prefixcap.interfaces.dataset import Example, ImageItem
from prefixcap.interfaces.metric import MetricConfig, Record
from prefixcap.plugin import specs
from prefixcap.study.analysis.reader import CaptionedImage, Cell, SavedStudy, read
from prefixcap.study.analysis.rows import FIELDS, TableRow, entries
from prefixcap.study.artifacts import replicates as resampling
from prefixcap.study.artifacts import scores as scoring
from prefixcap.study.artifacts.folder import StudyFolder
from prefixcap.util.files import read_json, write_text

__all__ = [
    "CORRECTIONS",
    "Analysis",
    "CaptionedImage",
    "Cell",
    "Contrast",
    "SavedStudy",
    "TableRow",
    "analyse",
    "compute",
    "joined",
    "metrics_of",
    "read",
    "records",
    "replicates",
]

FORMAT = 2
LEVEL = 0.95
_MADE_OF = (*FIELDS, "seed", "cell", "scores", "name")
CORRECTIONS = {"holm": holm, "benjamini-hochberg": benjamini_hochberg}
MAIN = ("CIDEr", "SPICE", "METEOR", "Bleu_4", "ROUGE_L")
"""The scores that can be a table's main one, the first that a study has; more is better in all."""


@attrs.frozen(kw_only=True)
class Contrast:
    """One entry against another in one score, first minus second.

    Attributes:
        value: the difference of the means over seeds.
        low: the lower end of its confidence interval.
        high: the upper end.
        p: the two-sided p-value of no difference, of this pair alone.
        adjusted: the p-value adjusted for all pairs of the table, by correction.
    """

    value: float
    low: float
    high: float
    p: float
    adjusted: Mapping[str, float]


@attrs.define(kw_only=True, slots=False)
class Analysis:
    """A study's numbers.

    Attributes:
        key: a digest of what it was computed from.
        level: the confidence level of the intervals.
        resamples: how many resamples of the images they are made of.
        images: how many images were captioned.
        scores: the scores that have intervals and were compared.
        entries: the lines of the table, baselines last.
        pairs: by score, `entries` (the numbers of those that have it) and lists over all pairs
            i < j of these, in the order of `numpy.triu_indices`: `value` (i minus j), `low`,
            `high`, `p`, and the p-values that are adjusted over all these pairs, by the
            correction's name.
        family: by score, over how many pairs p-values were adjusted, where lines were left out.
    """

    key: str
    level: float
    resamples: int
    images: int
    scores: tuple[str, ...]
    entries: tuple[TableRow, ...]
    pairs: Mapping[str, Mapping[str, Sequence[Any]]]
    family: Mapping[str, int] = attrs.field(factory=dict)

    @property
    def main(self) -> str | None:
        """The score that says which entry is best; None where the study has none of that kind."""
        return next((name for name in MAIN if name in self.scores), None)

    def compared(self, score: str) -> Sequence[int]:
        """Returns the numbers of the entries that were compared in a score.

        Raises:
            PrefixcapError: the score was not compared.
        """
        if score not in self.pairs:
            raise PrefixcapError(f"no score {score!r} was compared{nearest(score, self.pairs)}")
        return self.pairs[score]["entries"]

    def contrast(self, first: int, second: int, score: str) -> Contrast:
        """Returns the difference of two entries, by their numbers.

        Raises:
            PrefixcapError: the score was not compared, or one of the entries was not.
        """
        known = self.compared(score)
        if first == second:
            raise PrefixcapError(f"{self.entries[first].label} cannot be compared with itself")
        for number in (first, second):
            if number not in known:
                raise PrefixcapError(f"{self.entries[number].label} has no {score} to compare")
        i, j = (known.index(number) for number in (first, second))
        sign = 1 if i < j else -1
        i, j = min(i, j), max(i, j)
        at = i * len(known) - i * (i + 1) // 2 + j - i - 1
        found = self.pairs[score]
        low, high = sorted(sign * found[end][at] for end in ("low", "high"))
        return Contrast(
            value=sign * found["value"][at],
            low=low,
            high=high,
            p=found["p"][at],
            adjusted={name: found[name][at] for name in CORRECTIONS},
        )

    def best(self, score: str) -> int | None:
        """Returns the number of the entry with the highest score, baselines left out."""
        known = self.pairs.get(score, {}).get("entries", ())
        models = [n for n in known if not self.entries[n].baseline]
        return max(models, key=lambda n: self.entries[n].scores[score], default=None)

    def mark(self, number: int, score: str, correction: str) -> str:
        """Says how an entry stands to the best one.

        Returns:
            "best"; "<" where it is lower and ">" where it is higher, by the adjusted p-value;
            "~" where chance may be all there is to the difference; "" where it was not compared.
        """
        best = self.best(score)
        if best is None or number not in self.compared(score):
            return ""
        if number == best:
            return "best"
        found = self.contrast(number, best, score)
        # kept intervals are of a level that was chosen, and the marks are of the same
        if found.adjusted[correction] > 1 - self.level + 1e-12:
            return "~"
        return "<" if found.value < 0 else ">"

    def of(self, cells: Collection[str]) -> Analysis:
        """Returns the analysis with those entries that have one of these cells, and the baselines.

        Adjusted p-values stay those of the whole table, of which these lines were chosen.
        """
        chosen = {*cells}
        numbers = [
            n
            for n, entry in enumerate(self.entries)
            if entry.baseline or not chosen.isdisjoint(entry.cells)
        ]
        pairs = {name: _restricted(found, numbers) for name, found in self.pairs.items()}
        return Analysis(
            key="",
            level=self.level,
            resamples=self.resamples,
            images=self.images,
            scores=self.scores,
            entries=tuple(self.entries[n] for n in numbers),
            pairs={name: found for name, found in pairs.items() if found["p"]},
            family={name: len(found["p"]) for name, found in self.pairs.items()},
        )

    def write(self, folder: Path) -> None:
        """Writes `analysis.json` into a study's folder."""
        write_text(
            StudyFolder(folder).analysis, json.dumps(self.to_json(), ensure_ascii=False) + "\n"
        )

    def to_json(self) -> dict[str, Any]:
        """Returns everything as JSON data."""
        return {**attrs.asdict(self, recurse=False), "entries": [e.to_json() for e in self.entries]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Analysis:
        """Turns what `to_json` returned back."""
        lines = tuple(TableRow.from_json(each) for each in data["entries"])
        return cls(**{**data, "scores": tuple(data["scores"]), "entries": lines})

    def summary(self, correction: str) -> dict[str, Any]:
        """Returns what `bench --json` prints: the entries, each against the best one."""
        main = self.main
        return {
            "level": self.level,
            "resamples": self.resamples,
            "images": self.images,
            "score": main,
            "correction": correction,
            "entries": [
                {**entry.to_json(), **self._against(number, main, correction)}
                for number, entry in enumerate(self.entries)
            ],
        }

    def _against(self, number: int, score: str | None, correction: str) -> dict[str, Any]:
        best = self.best(score) if score else None
        if score is None or best is None or number not in self.compared(score):
            return {"mark": ""}
        mark = self.mark(number, score, correction)
        if number == best:
            return {"mark": mark}
        found = attrs.asdict(self.contrast(number, best, score))
        return {"mark": mark, "against_best": found}


def analyse(finished: SavedStudy, *, level: float = LEVEL) -> Analysis:
    """Computes a study's numbers, or reads them where they were kept.

    Args:
        finished: the study.
        level: the confidence level.

    Raises:
        PrefixcapError: a metric of the study is not installed, or lacks what it needs, and the
            cells' replicates were not kept; or the level is out of range.
    """
    key = _key(finished.rows, finished.baselines, level)
    path = StudyFolder(finished.folder).analysis
    kept = read_json(path) or {}
    if kept.get("key") == key:
        return Analysis.from_json(kept)
    found = compute(finished.rows, finished.baselines, replicates(finished), level=level)
    found.write(finished.folder)
    return found


def metrics_of(finished: SavedStudy) -> list[MetricConfig]:
    """Returns the study's metrics.

    Raises:
        PrefixcapError: one is not installed.
    """
    from prefixcap.plugin.registry import default_registry

    registry = default_registry()
    return [registry.from_json(MetricConfig, data) for data in finished.config["metrics"]]


def replicates(finished: SavedStudy) -> dict[str, Replicates]:
    """Returns the replicates of every cell, and computes what was not kept; raises as `analyse`."""
    metrics = metrics_of(finished)
    found = {}
    for name, cell in finished.cells.items():
        each = resampling.replicates(cell.folder, records(finished, cell), metrics)
        if each is not None:
            found[name] = each
    return found


def records(finished: SavedStudy, cell: Cell) -> list[Record]:
    """Puts a cell's captions beside their references."""
    examples = [
        Example(image=ImageItem(id=image.id, index=n), references=image.references)
        for n, image in enumerate(finished.images)
    ]
    return scoring.records(examples, cell.lines)


def compute(
    rows: Sequence[Mapping[str, Any]],
    baselines: Sequence[Mapping[str, Any]],
    cells: Mapping[str, Replicates],
    *,
    level: float = LEVEL,
) -> Analysis:
    """Computes intervals and comparisons of a study.

    Args:
        rows: one a cell.
        baselines: rows of captions that need no model.
        cells: each cell's replicates.
        level: the confidence level.
    """
    lines = entries(rows, baselines)
    known = {
        number: joined([cells[cell] for cell in line.cells])
        for number, line in enumerate(lines)
        if line.cells and all(cell in cells for cell in line.cells)
    }
    ends: dict[int, dict[str, tuple[float, float]]] = {number: {} for number in known}
    pairs: dict[str, dict[str, list[Any]]] = {}
    for numbers, names in _tables(known).items():
        table = Cells(
            replicates=[known[number].of(names) for number in numbers],
            fixed=[lines[number].baseline for number in numbers],
        )
        for place, number in enumerate(numbers):
            spread = table.spread(place)
            found = bootstrap_interval(table.replicates[place], level=level, spread=spread)
            ends[number] |= {each.name: (each.low, each.high) for each in found}
        if len(numbers) > 1:
            pairs |= _pairs(table.pairs(level=level), numbers)
    for number, intervals in ends.items():
        lines[number] = attrs.evolve(lines[number], intervals=intervals)
    scores = dict.fromkeys(name for each in known.values() for name in each.names)
    return Analysis(
        key=_key(rows, baselines, level),
        level=level,
        resamples=resampling.RESAMPLES,
        images=max((len(each.images) for each in known.values()), default=0),
        scores=tuple(scores),
        entries=tuple(lines),
        pairs={name: pairs[name] for name in scores if name in pairs},
    )


def joined(seeds: Sequence[Replicates]) -> Replicates:
    """Joins the replicates of one entry's seeds, of the scores that all of them have."""
    names = [name for name in seeds[0].names if all(name in each.names for each in seeds)]
    return combined([each.of(names) for each in seeds])


def _tables(known: Mapping[int, Replicates]) -> dict[tuple[int, ...], list[str]]:
    """Puts scores together that the same entries have: captions of no model lack some."""
    found: dict[tuple[int, ...], list[str]] = {}
    for name in dict.fromkeys(name for each in known.values() for name in each.names):
        numbers = tuple(number for number, each in known.items() if name in each.names)
        found.setdefault(numbers, []).append(name)
    return found


def _pairs(found: Pairs, numbers: Sequence[int]) -> dict[str, dict[str, list[Any]]]:
    columns: dict[str, dict[str, list[Any]]] = {}
    for k, name in enumerate(found.names):
        p = found.p[:, k]
        adjusted = {way: adjust(list(p)) for way, adjust in CORRECTIONS.items()}
        values = {what: getattr(found, what)[:, k] for what in ("value", "low", "high", "p")}
        columns[name] = {"entries": list(numbers)}
        for what, each in {**values, **adjusted}.items():
            columns[name][what] = [float(f"{value:.6g}") for value in each]
    return columns


def _restricted(
    found: Mapping[str, Sequence[Any]], numbers: Sequence[int]
) -> dict[str, Sequence[Any]]:
    known = found["entries"]
    kept = [n in numbers for n in known]
    pairs = [i and j for n, i in enumerate(kept) for j in kept[n + 1 :]]
    places = [numbers.index(n) for n in known if n in numbers]
    lists = {k: [*compress(v, pairs)] for k, v in found.items() if k != "entries"}
    return {"entries": places, **lists}


def _key(
    rows: Sequence[Mapping[str, Any]], baselines: Sequence[Mapping[str, Any]], level: float
) -> str:
    what = [{k: v for k, v in row.items() if k in _MADE_OF} for row in (*rows, *baselines)]
    return specs.digest(FORMAT, resampling.FORMAT, resampling.RESAMPLES, level, what)
