"""The numbers of a study: table rows with confidence intervals, and all pairs of them compared."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from prefixcap.errors import PrefixcapError, nearest
from prefixcap.evaluation.stats import Difference
from prefixcap.interfaces.metric import NO_SCALE, Scale
from prefixcap.study.analysis import score_pairs
from prefixcap.study.analysis.reader import SavedStudy
from prefixcap.study.analysis.rows import TableRow
from prefixcap.study.analysis.score_pairs import CORRECTIONS, NamedDifferences, ScorePairs
from prefixcap.study.artifacts.folder import StudyFolder
from prefixcap.study.definition.study import HOLM
from prefixcap.util.files import write_json

LEVEL = 0.95
TITLES = {"holm": "Holm", "benjamini-hochberg": "Benjamini-Hochberg"}


def main_score(scores: Iterable[str], scales: Mapping[str, Scale]) -> str | None:
    """Return the score that ranks rows; None if none of these can."""
    return next(iter(ranked(scores, scales, lambda scale: scale.main_rank)), None)


def ranked(
    scores: Iterable[str], scales: Mapping[str, Scale], rank_of: Callable[[Scale], int | None]
) -> list[str]:
    """Return the scores that have a rank, the lowest first."""
    ranks = {name: rank_of(scales.get(name, NO_SCALE)) for name in scores}
    known = {name: rank for name, rank in ranks.items() if rank is not None}
    return sorted(known, key=known.__getitem__)


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
        pairs: The comparisons of all pairs of rows, by score.
        scales: How scores are read, by score.
        family: By score, the number of pairs that p-values were adjusted for, if the analysis was
            reduced to some rows.
    """

    key: str
    level: float
    resamples: int
    images: int
    scores: tuple[str, ...]
    entries: tuple[TableRow, ...]
    pairs: Mapping[str, ScorePairs]
    scales: Mapping[str, Scale] = attrs.field(factory=dict)
    family: Mapping[str, int] = attrs.field(factory=dict)
    _best: dict[str, int | None] = attrs.field(factory=dict, init=False, eq=False)

    def __repr__(self) -> str:
        return f"<Analysis of {len(self.entries)} rows in {', '.join(self.scores)}>"

    @property
    def main(self) -> str | None:
        """The score that ranks the rows; None if the study has none of that kind."""
        return main_score(self.scores, self.scales)

    def scale(self, score: str) -> Scale:
        """Return how a score is read."""
        return self.scales.get(score, NO_SCALE)

    def compared(self, score: str) -> Sequence[int]:
        """Return the indices of the rows that were compared in a score.

        Raises:
            PrefixcapError: If the score was not compared.
        """
        if score not in self.pairs:
            raise PrefixcapError(f"no score {score!r} was compared{nearest(score, self.pairs)}")
        return self.pairs[score].entries

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
        return self.pairs[score].difference(first, second, correction)

    def differences(
        self, score: str, correction: str, names: Sequence[str]
    ) -> Mapping[tuple[str, str], Difference]:
        """Return the differences of all pairs in a score by their names; none if not compared.

        `names` has the name of each row.
        """
        if score not in self.pairs:
            return {}
        return NamedDifferences(self.pairs[score], names, correction)

    def best(self, score: str) -> int | None:
        """Return the index of the row with the best score, baselines excluded.

        It is the highest one, unless lower is better.
        """
        if score not in self._best:
            known = self.pairs[score].entries if score in self.pairs else ()
            models = [n for n in known if not self.entries[n].baseline]
            sign = self.scale(score).sign
            value = {n: sign * self.entries[n].scores[score] for n in models}
            self._best[score] = max(models, key=value.__getitem__, default=None)
        return self._best[score]

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
        return "worse" if self.scale(score).sign * difference.value < 0 else "better"

    def subset(self, cells: Collection[str]) -> Analysis:
        """Return the analysis of the rows that have one of these cells, and of the baselines.

        Adjusted p-values stay those of the whole table, from which these rows were picked.
        """
        rows = enumerate(self.entries)
        indices = [n for n, row in rows if row.baseline or not {*cells}.isdisjoint(row.cells)]
        pairs = {name: each.of(indices) for name, each in self.pairs.items()}
        return attrs.evolve(
            self,
            key="",
            entries=tuple(self.entries[n] for n in indices),
            pairs={name: each for name, each in pairs.items() if len(each)},
            family={name: len(each) for name, each in self.pairs.items()},
        )

    def write(self, folder: Path) -> None:
        """Write `analysis.json` and `pairs.safetensors` into a study's folder."""
        files = StudyFolder(folder)
        score_pairs.write(files.pairs, self.pairs, self.key, self.level)
        write_json(files.analysis, self.to_json(), indent=None)

    def to_json(self) -> dict[str, Any]:
        """Return everything but the pairs as JSON data."""
        return {
            "key": self.key,
            "level": self.level,
            "resamples": self.resamples,
            "images": self.images,
            "scores": list(self.scores),
            "scales": {name: attrs.asdict(scale) for name, scale in self.scales.items()},
            "entries": [entry.to_json() for entry in self.entries],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], pairs: Mapping[str, ScorePairs]) -> Analysis:
        """Restore an analysis from `to_json` and its pairs."""
        return cls(
            key=data["key"],
            level=data["level"],
            resamples=data["resamples"],
            images=data["images"],
            scores=tuple(data["scores"]),
            scales={name: Scale(**scale) for name, scale in data["scales"].items()},
            entries=tuple(TableRow.from_json(each) for each in data["entries"]),
            pairs=pairs,
        )

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
