"""The comparison of rows, studies or files of predictions, score by score, on the same images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from prefixcap.evaluation.stats import Array, Difference
from prefixcap.interfaces.metric import Scale
from prefixcap.study.analysis.analysis import LEVEL, main_score
from prefixcap.study.analysis.config_diff import ConfigDiff
from prefixcap.study.analysis.sides import Side

EQUAL = 1e-12
"""Scores of an image that are this close count as equal."""

Pair = tuple[Side, Side]


@attrs.frozen(kw_only=True, repr=False)
class ScoreComparison:
    """The comparison of two sides in one score: their means over seeds, first minus second.

    `higher`, `equal` and `lower` count the images on which the first side is higher, equal or
    lower; they are None if images have no score.
    """

    score: str
    first: float
    second: float
    difference: Difference
    higher: int | None = None
    equal: int | None = None
    lower: int | None = None

    def __repr__(self) -> str:
        return f"{self.score} {self.difference}"

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON data, the difference's fields included."""
        data = attrs.asdict(self)
        difference = data.pop("difference")
        value = {"difference": difference.pop("value"), **difference}
        return {**data, **value, "significant": self.difference.significant}


@attrs.frozen(kw_only=True, repr=False)
class PairComparison:
    """The comparison of two sides by score.

    Attributes:
        sides: Both sides.
        scores: The comparison in each score.
        per_image: The difference (I) of every image, by score.
        scales: How each score is read.
    """

    sides: Pair
    scores: Mapping[str, ScoreComparison]
    per_image: Mapping[str, Array]
    scales: Mapping[str, Scale] = attrs.field(factory=dict)

    def __repr__(self) -> str:
        return f"{self.label}: " + "; ".join(map(repr, self.scores.values()))

    @property
    def label(self) -> str:
        """The label of the first side's row, or its file."""
        return self.sides[0].row.label if self.sides[0].row else self.sides[0].label

    @property
    def main(self) -> str | None:
        """The score that orders images: a main one if images have one."""
        return main_score(self.per_image, self.scales) or next(iter(self.per_image), None)

    def largest(self, count: int) -> list[dict[str, Any]]:
        """Return the images on which the sides differ most, with both captions.

        First up to `count` on which the first side is higher, then as many on which it is lower.
        """
        if self.main is None:
            return []
        each = self.per_image[self.main]
        order = np.argsort(-each, kind="stable")
        higher = [int(n) for n in order[:count] if each[n] > EQUAL]
        lower = [int(n) for n in order[::-1][:count] if each[n] < -EQUAL]
        return [self._image(index, float(each[index])) for index in (*higher, *lower)]

    def _image(self, index: int, value: float) -> dict[str, Any]:
        one, two = (side.records[index] for side in self.sides)
        captions = {"a": one.prediction, "b": two.prediction}
        return {"image": one.image, "difference": value, **captions, "references": one.references}


@attrs.frozen(kw_only=True, repr=False)
class Comparison:
    """The comparison of two selections: one pair of rows or files, or the rows of two studies.

    Attributes:
        names: The names of the two.
        pairs: The comparison of each pair.
        unmatched: The labels of the rows of each that have no counterpart in the other.
        config_diff: The settings in which they differ.
        correction: The correction for multiple comparisons: over the scores of a single pair, over
            the pairs of several.
    """

    names: tuple[str, str]
    pairs: Sequence[PairComparison]
    unmatched: tuple[Sequence[str], Sequence[str]] = ((), ())
    config_diff: ConfigDiff = attrs.field(factory=dict)
    correction: str

    def __getitem__(self, score: str) -> Difference:
        """Return the difference of the first pair in a score."""
        return self.pairs[0].scores[score].difference

    def __repr__(self) -> str:
        pairs = "".join(f"\n  {pair}" for pair in self.pairs)
        return f"<Comparison of {self.names[0]} with {self.names[1]}{pairs}>"

    def to_json(self, scores: Sequence[str] | None = None) -> dict[str, Any]:
        """Return everything as JSON data, with some of the scores or all of them."""
        shown = [*self.pairs[0].scores] if scores is None else scores
        a, b = (
            {"name": name, "unmatched": list(labels)}
            for name, labels in zip(self.names, self.unmatched, strict=True)
        )
        only = self.pairs[0] if len(self.pairs) == 1 else None
        images = len(self.pairs[0].sides[0].images)
        return {
            "a": a,
            "b": b,
            "config_diff": {key: list(values) for key, values in self.config_diff.items()},
            "level": LEVEL,
            "correction": self.correction,
            "images": images,
            "pairs": [
                {
                    "label": pair.label,
                    "seeds": [side.seed_count for side in pair.sides],
                    "scores": [pair.scores[name].to_json() for name in shown],
                }
                for pair in self.pairs
            ],
            "by_image": [] if only is None else only.largest(images),
            "by_image_score": None if only is None else only.main,
        }
