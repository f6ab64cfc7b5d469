"""The numbers of a study: table rows with confidence intervals, and all pairs of them compared."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations, compress
from pathlib import Path
from typing import Any

import attrs

from prefixcap.errors import PrefixcapError, nearest
from prefixcap.evaluation.stats import Difference, benjamini_hochberg, holm
from prefixcap.study.analysis.reader import SavedStudy
from prefixcap.study.analysis.rows import TableRow
from prefixcap.study.artifacts.folder import StudyFolder
from prefixcap.study.definition.study import HOLM
from prefixcap.util.files import write_json

LEVEL = 0.95
CORRECTIONS = {"holm": holm, "benjamini-hochberg": benjamini_hochberg}
TITLES = {"holm": "Holm", "benjamini-hochberg": "Benjamini-Hochberg"}
MAIN = ("CIDEr", "SPICE", "METEOR", "Bleu_4", "ROUGE_L")
"""The scores that can be a table's main one, in order of preference; higher is better in all."""


@attrs.define(kw_only=True, slots=False, repr=False)
class Analysis:
    """The numbers of a study.

    Attributes:
        key: A digest of what it was computed from.
        level: The confidence level of the intervals.
        resamples: The number of resamples.
        images: The number of captioned images.
        scores: The scores that have intervals.
        entries: The rows of the table, baselines last.
        pairs: By score, `entries` (the indices of the rows that have the score) and lists over all
            pairs i < j of these, in the order of `numpy.triu_indices`: `value` (i minus j), `low`,
            `high`, `p`, and the adjusted p-values by the name of the correction.
        family: By score, the number of pairs that p-values were adjusted for, if the analysis was
            reduced to some rows.
    """

    key: str
    level: float
    resamples: int
    images: int
    scores: tuple[str, ...]
    entries: tuple[TableRow, ...]
    pairs: Mapping[str, Mapping[str, Sequence[Any]]]
    family: Mapping[str, int] = attrs.field(factory=dict)

    def __repr__(self) -> str:
        return f"<Analysis of {len(self.entries)} rows in {', '.join(self.scores)}>"

    @property
    def main(self) -> str | None:
        """The score that ranks the rows; None if the study has none of that kind."""
        return next((name for name in MAIN if name in self.scores), None)

    def compared(self, score: str) -> Sequence[int]:
        """Return the indices of the rows that were compared in a score.

        Raises:
            PrefixcapError: If the score was not compared.
        """
        if score not in self.pairs:
            raise PrefixcapError(f"no score {score!r} was compared{nearest(score, self.pairs)}")
        return self.pairs[score]["entries"]

    def difference(self, first: int, second: int, score: str, correction: str) -> Difference:
        """Return the difference of two rows, by their indices.

        Raises:
            PrefixcapError: If the score or one of the rows was not compared.
        """
        known = self.compared(score)
        if first == second:
            raise PrefixcapError(f"{self.entries[first].label} cannot be compared with itself")
        for index in (first, second):
            if index not in known:
                raise PrefixcapError(f"{self.entries[index].label} has no {score} to compare")
        i, j = (known.index(index) for index in (first, second))
        if i > j:
            return -self.difference(second, first, score, correction)
        # pairs before row i: i rows of len - 1, len - 2, ... pairs
        position = i * len(known) - i * (i + 1) // 2 + j - i - 1
        return self._difference(score, correction, position)

    def differences(self, score: str, correction: str) -> dict[tuple[int, int], Difference]:
        """Return the differences of all pairs in a score; none if it was not compared."""
        pairs = combinations(self.pairs.get(score, {}).get("entries", ()), 2)
        return {pair: self._difference(score, correction, n) for n, pair in enumerate(pairs)}

    def _difference(self, score: str, correction: str, position: int) -> Difference:
        columns = self.pairs[score]
        value, low, high, p = (columns[name][position] for name in ("value", "low", "high", "p"))
        adjusted = columns[correction][position]
        return Difference(value=value, low=low, high=high, p=p, adjusted=adjusted, level=self.level)

    def best(self, score: str) -> int | None:
        """Return the index of the row with the highest score, baselines excluded."""
        known = self.pairs.get(score, {}).get("entries", ())
        models = [n for n in known if not self.entries[n].baseline]
        return max(models, key=lambda n: self.entries[n].scores[score], default=None)

    def mark(self, index: int, score: str, correction: str) -> str:
        """Compare a row with the best one.

        Returns:
            "best", "worse", "better" or "n.s." (not significant); "" if it was not compared.
        """
        best = self.best(score)
        if best is None or index not in self.compared(score):
            return ""
        if index == best:
            return "best"
        difference = self.difference(index, best, score, correction)
        if not difference.significant:
            return "n.s."
        return "worse" if difference.value < 0 else "better"

    def subset(self, cells: Collection[str]) -> Analysis:
        """Return the analysis of the rows that have one of these cells, and of the baselines.

        Adjusted p-values stay those of the whole table, from which these rows were picked.
        """
        rows = enumerate(self.entries)
        indices = [n for n, row in rows if row.baseline or not {*cells}.isdisjoint(row.cells)]
        pairs = {name: _restrict(columns, indices) for name, columns in self.pairs.items()}
        return attrs.evolve(
            self,
            key="",
            entries=tuple(self.entries[n] for n in indices),
            pairs={name: columns for name, columns in pairs.items() if columns["p"]},
            family={name: len(columns["p"]) for name, columns in self.pairs.items()},
        )

    def write(self, folder: Path) -> None:
        """Write `analysis.json` into a study's folder."""
        write_json(StudyFolder(folder).analysis, self.to_json(), indent=None)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON data."""
        return {**attrs.asdict(self, recurse=False), "entries": [e.to_json() for e in self.entries]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Analysis:
        """Restore an analysis from `to_json`."""
        entries = tuple(TableRow.from_json(each) for each in data["entries"])
        return cls(**{**data, "scores": tuple(data["scores"]), "entries": entries})

    def summary(self, correction: str) -> dict[str, Any]:
        """Return what `bench --json` prints: each row and its difference from the best one."""
        main = self.main
        return {
            "level": self.level,
            "resamples": self.resamples,
            "images": self.images,
            "score": main,
            "correction": correction,
            "entries": [
                {**entry.to_json(), **self._against_best(index, main, correction)}
                for index, entry in enumerate(self.entries)
            ],
        }

    def _against_best(self, index: int, score: str | None, correction: str) -> dict[str, Any]:
        best = self.best(score) if score else None
        if score is None or best is None:
            return {"mark": ""}
        mark = self.mark(index, score, correction)
        if mark in ("", "best"):
            return {"mark": mark}
        difference = self.difference(index, best, score, correction)
        return {"mark": mark, "diff_vs_best": attrs.asdict(difference)}


def correction_for(*studies: SavedStudy, chosen: str | None = None) -> str:
    """Return the correction for multiple comparisons: the chosen one, or the studies' own.

    Raises:
        PrefixcapError: If it is unknown.
    """
    names = {str(study.config.get("correction", HOLM)) for study in studies}
    name = chosen or (names.pop() if len(names) == 1 else HOLM)
    if name not in CORRECTIONS:
        hint = nearest(name, CORRECTIONS)
        if chosen:
            raise PrefixcapError(f"--correction cannot be {name!r}{hint}")
        raise PrefixcapError(
            f"{StudyFolder(studies[0].folder).config}: 'correction' cannot be {name!r}{hint}; "
            "--correction overrides it"
        )
    return name


def _restrict(
    columns: Mapping[str, Sequence[Any]], indices: Sequence[int]
) -> dict[str, Sequence[Any]]:
    known = columns["entries"]
    selected = {*indices}
    pairs = [i in selected and j in selected for i, j in combinations(known, 2)]
    places = [indices.index(n) for n in known if n in selected]
    lists = {key: [*compress(v, pairs)] for key, v in columns.items() if key != "entries"}
    return {"entries": places, **lists}
