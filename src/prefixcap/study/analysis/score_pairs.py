"""All pairs of a study's rows in one score: kept in a binary file, read when needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any, TypeAlias, final

import attrs
import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from prefixcap.evaluation.stats import Array, Difference, benjamini_hochberg, holm
from prefixcap.util.storage.tensor_files import read_tensors, write_tensors

CORRECTIONS = {"holm": holm, "benjamini-hochberg": benjamini_hochberg}
SMALLEST = np.finfo(np.float32).tiny
"""The smallest p-value that is kept."""
_ARRAYS = ("value", "low", "high", "p")

Floats: TypeAlias = NDArray[np.float32]


def _floats(values: Array | Floats) -> Floats:
    return np.asarray(values, dtype=np.float32)


_SAME: Any = attrs.cmp_using(eq=np.array_equal)


@attrs.frozen(kw_only=True, slots=False)
class ScorePairs:
    """The differences of all pairs i < j of R rows in a score, in the order of `triu_indices`.

    Numbers are kept in single precision: seven digits of half a million pairs are 8 MB.

    Attributes:
        entries: (R), the indices of the rows that have the score.
        level: The confidence level.
        value: (M), i minus j.
        low: (M), the lower end of the confidence interval.
        high: (M).
        p: (M), the two-sided p-value of each pair alone.
    """

    entries: tuple[int, ...]
    level: float
    value: Floats = attrs.field(converter=_floats, eq=_SAME, repr=False)
    low: Floats = attrs.field(converter=_floats, eq=_SAME, repr=False)
    high: Floats = attrs.field(converter=_floats, eq=_SAME, repr=False)
    p: Floats = attrs.field(converter=_floats, eq=_SAME, repr=False)
    _adjusted: dict[str, Array] = attrs.field(factory=dict, eq=False, repr=False)

    def __len__(self) -> int:
        return len(self.value)

    def adjusted(self, correction: str) -> Array:
        """Return (M), the p-values adjusted for all pairs of the table."""
        if correction not in self._adjusted:
            p = self.p.astype(np.float64).tolist()
            self._adjusted[correction] = np.asarray(CORRECTIONS[correction](p))
        return self._adjusted[correction]

    def difference(self, first: int, second: int, correction: str) -> Difference:
        """Return the difference of two rows, by their indices, both with the score."""
        i, j = self._place[first], self._place[second]
        if i > j:
            return -self.difference(second, first, correction)
        # pairs before row i: i rows of R - 1, R - 2, ... pairs
        position = i * len(self.entries) - i * (i + 1) // 2 + j - i - 1
        value, low, high, p = (float(getattr(self, name)[position]) for name in _ARRAYS)
        adjusted = float(self.adjusted(correction)[position])
        return Difference(value=value, low=low, high=high, p=p, adjusted=adjusted, level=self.level)

    def of(self, indices: Sequence[int]) -> ScorePairs:
        """Return the pairs of some rows, which are then counted from 0 in the given order.

        Adjusted p-values stay those of the whole table.
        """
        chosen = [n for n in self.entries if n in {*indices}]
        kept = np.isin(self.entries, chosen)
        first, second = np.triu_indices(len(self.entries), 1)
        pairs = kept[first] & kept[second]
        return ScorePairs(
            entries=tuple(indices.index(n) for n in chosen),
            level=self.level,
            **{name: getattr(self, name)[pairs] for name in _ARRAYS},
            adjusted={name: self.adjusted(name)[pairs] for name in CORRECTIONS},
        )

    @cached_property
    def _place(self) -> dict[int, int]:
        return {index: place for place, index in enumerate(self.entries)}


@final
@attrs.frozen(slots=False)
class NamedDifferences(Mapping[tuple[str, str], Difference]):
    """The difference of each pair of rows by the names of both, created when it is looked up.

    Attributes:
        pairs: The pairs.
        names: The name of each row of the table.
        correction: The correction of the adjusted p-values.
    """

    pairs: ScorePairs
    names: Sequence[str]
    correction: str

    @override
    def __getitem__(self, pair: tuple[str, str]) -> Difference:
        first, second = (self._indices[name] for name in pair)
        if first >= second:
            raise KeyError(pair)
        return self.pairs.difference(first, second, self.correction)

    @override
    def __iter__(self) -> Iterator[tuple[str, str]]:
        return combinations((self.names[n] for n in self.pairs.entries), 2)

    @override
    def __len__(self) -> int:
        return len(self.pairs)

    @cached_property
    def _indices(self) -> dict[str, int]:
        return {self.names[n]: n for n in self.pairs.entries}


def write(path: Path, pairs: Mapping[str, ScorePairs], key: str, level: float) -> None:
    """Write the pairs in each score, sealed."""
    entries = {score: each.entries for score, each in pairs.items()}
    arrays = {
        f"{score}/{name}": getattr(each, name) for score, each in pairs.items() for name in _ARRAYS
    }
    write_tensors(path, arrays, {"key": key, "level": level, "entries": entries})


def read(path: Path, key: str) -> dict[str, ScorePairs] | None:
    """Read the output of `write`; return None if there is none with this key.

    Raises:
        AlteredError: If the file was altered.
        PrefixcapError: If the file cannot be read.
    """
    stored: tuple[Mapping[str, Any], dict[str, Any]] = read_tensors(path) or ({}, {})
    arrays, info = stored
    if info.get("key") != key:
        return None
    return {
        score: ScorePairs(
            entries=tuple(entries),
            level=info["level"],
            **{name: arrays[f"{score}/{name}"] for name in _ARRAYS},
        )
        for score, entries in info["entries"].items()
    }
