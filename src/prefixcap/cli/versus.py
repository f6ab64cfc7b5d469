"""What `compare` says of two sides: the short list of what differs, and the scores' differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import attrs

from prefixcap.cli.options import DEFAULT_EVAL_METRICS
from prefixcap.cli.table import wrapped
from prefixcap.errors import PrefixcapError, nearest
from prefixcap.interfaces.metric import MetricConfig
from prefixcap.study.analysis import comparison
from prefixcap.study.analysis.analysis import LEVEL, MAIN
from prefixcap.study.analysis.comparison import Comparison, Line, Side
from prefixcap.study.analysis.config_diff import Differences, between
from prefixcap.study.analysis.pairing import _all, _cells, _likes, _metrics, _name, _side
from prefixcap.study.analysis.selectors import SEPARATOR, Part
from prefixcap.study.analysis.tables import digits_of, markdown, number

NAMES = {"holm": "Holm's", "benjamini-hochberg": "Benjamini-Hochberg's"}


@attrs.frozen(kw_only=True)
class Versus:
    """One entry (or file) against another.

    Attributes:
        names: how the two are called.
        found: the comparison.
        differs: what they were made differently by.
        correction: the correction for many comparisons.
    """

    names: tuple[str, str]
    found: Comparison
    differs: Differences
    correction: str

    def to_json(self, scores: Sequence[str] | None) -> dict[str, Any]:
        """Returns everything as JSON data."""
        one, two = self.found.sides
        order = self.found.furthest(len(one.records))
        return {
            "a": {"name": self.names[0], "seeds": len(one.seeds)},
            "b": {"name": self.names[1], "seeds": len(two.seeds)},
            "differs": {key: list(values) for key, values in self.differs.items()},
            "level": LEVEL,
            "correction": self.correction,
            "images": len(one.records),
            "scores": [attrs.asdict(line) for line in self._lines(scores)],
            "by_image": [self._image(number, value) for number, value in order],
            "by_image_score": self.found.main,
        }

    def text(self, scores: Sequence[str] | None, images: int, width: int) -> str:
        """Writes everything for a terminal."""
        lines = self._lines(scores)
        one, two = self.found.sides
        parts = [f"A: {self.names[0]}{_seeds(one)}", f"B: {self.names[1]}{_seeds(two)}"]
        parts += differing(self.differs, width)
        parts += ["", _score_table(lines, width)]
        parts += wrapped(
            [
                *verdict(lines, self.correction, family=len(self.found.lines)),
                *_notes(one, two, LEVEL),
            ],
            width,
        )
        parts += self._images(images, width)
        return "\n".join(parts)

    def _lines(self, scores: Sequence[str] | None) -> list[Line]:
        lines = {line.score: line for line in self.found.lines}
        return [lines[name] for name in chosen(scores or [], list(lines))]

    def _image(self, number: int, value: float) -> dict[str, Any]:
        one, two = (side.records[number] for side in self.found.sides)
        captions = {"a": one.prediction, "b": two.prediction}
        return {"image": one.image, "difference": value, **captions, "references": one.references}

    def _images(self, count: int, width: int) -> list[str]:
        found = [self._image(*each) for each in self.found.furthest(count)] if count else []
        if not found:
            return []
        first = " (captions are the first seed's)" if len(self.found.sides[0].seeds) > 1 else ""
        parts = ["", f"where they differ most, by {self.found.main} of the image{first}:"]
        for each in found:
            parts.append(f"{each['image']}  A - B {each['difference']:+.3f}")
            parts += [f"  {name.upper()}: {each[name] or '(empty)'}" for name in "ab"]
            parts.append(f"  a human's: {each['references'][0]}")
        return parts


@attrs.frozen(kw_only=True)
class Matched:
    """The entries of a study against those of another, each with its like.

    Attributes:
        names: how the two are called.
        labels: what the entries are called.
        found: one a pair.
        alone: the labels of entries that only one has.
        differs: what the studies were made differently by.
        correction: the correction for many comparisons.
    """

    names: tuple[str, str]
    labels: list[str]
    found: list[Comparison]
    alone: tuple[list[str], list[str]]
    differs: Differences
    correction: str

    def to_json(self, scores: Sequence[str] | None) -> dict[str, Any]:
        """Returns everything as JSON data."""
        known = [line.score for line in self.found[0].lines]
        shown = chosen(scores or [], known)
        return {
            "a": {"name": self.names[0], "alone": self.alone[0]},
            "b": {"name": self.names[1], "alone": self.alone[1]},
            "differs": {key: list(values) for key, values in self.differs.items()},
            "level": LEVEL,
            "correction": self.correction,
            "images": len(self.found[0].sides[0].records),
            "entries": [
                {
                    "label": label,
                    "scores": [attrs.asdict(each) for each in found.lines if each.score in shown],
                }
                for label, found in zip(self.labels, self.found, strict=True)
            ],
        }

    def text(self, scores: Sequence[str] | None, images: int, width: int) -> str:
        """Writes everything for a terminal; single images are left to pairs of entries."""
        known = [line.score for line in self.found[0].lines]
        main = next((name for name in MAIN if name in known), known[0])
        parts = [f"A: {self.names[0]}", f"B: {self.names[1]}"]
        parts += [*differing(self.differs, width), ""]
        for name in chosen(scores or [main], known):
            lines = [
                next(line for line in found.lines if line.score == name) for found in self.found
            ]
            parts += [f"{name}:", _score_table(lines, width, ("line", self.labels))]
            parts += wrapped(verdict(lines, self.correction, self.labels), width)
        one, two = self.found[0].sides
        parts += wrapped(_notes(one, two, LEVEL), width)
        for name, labels in zip("AB", self.alone, strict=True):
            if labels:
                parts += wrapped([f"only in {name}: {', '.join(labels)}"], width)
        return "\n".join(parts)


def single(
    one: Part,
    two: Part,
    metrics: Sequence[MetricConfig] | None,
    *,
    common: bool,
    correction: str,
) -> Versus:
    """Compares two entries, or files.

    Raises:
        PrefixcapError: a part is more than one entry, or the sides cannot be compared.
    """
    whole = _side(one), _side(two)
    sides = comparison.same_images(*whole, common=common)
    kept = metrics is None and all(s is w and s.entry for s, w in zip(sides, whole, strict=True))
    used = _metrics(sides, metrics, DEFAULT_EVAL_METRICS)
    beside = []
    if kept and one.path == two.path and one.finished is not None:
        entries = [e for e in _all(one) if not {*e.cells} & {*_cells(sides[0]), *_cells(sides[1])}]
        beside = [Side.of_entry(one.finished, entry) for entry in entries]
    (found,) = comparison.compare([sides], used, kept=kept, beside=beside, correction=correction)
    differs: Differences = {}
    if sides[0].entry is not None and sides[1].entry is not None:
        assert one.finished is not None
        assert two.finished is not None
        differs = between(one.finished, two.finished, sides[0].entry, sides[1].entry)
        if differs.keys() == set() and sides[0].entry.cells == sides[1].entry.cells:
            raise PrefixcapError(f"{one.text!r} and {two.text!r} are the same line of one study")
    return Versus(
        names=(_name(one), _name(two)), found=found, differs=differs, correction=correction
    )


def matched(
    one: Part,
    two: Part,
    metrics: Sequence[MetricConfig] | None,
    *,
    common: bool,
    correction: str,
) -> Matched:
    """Compares each entry of a study with its like in another.

    Raises:
        PrefixcapError: no entry has its like, or the studies cannot be compared.
    """
    assert one.finished is not None
    assert two.finished is not None
    likes, alone = _likes(one.entries, two.entries)
    if not likes:
        raise PrefixcapError(
            f"no line of {one.text} has its like in {two.text}: choose one of each with "
            f"{SEPARATOR}, such as {one.path}{SEPARATOR}{one.entries[0].label!r}"
        )
    pairs, kept = [], metrics is None
    for first, second in likes:
        whole = Side.of_entry(one.finished, first), Side.of_entry(two.finished, second)
        sides = comparison.same_images(*whole, common=common)
        kept = kept and sides[0] is whole[0] and sides[1] is whole[1]
        pairs.append(sides)
    used = _metrics(pairs[0], metrics, DEFAULT_EVAL_METRICS)
    found = comparison.compare(pairs, used, kept=kept, correction=correction, across=True)
    return Matched(
        names=(one.text, two.text),
        labels=[first.label for first, _ in likes],
        found=found,
        alone=alone,
        differs=between(one.finished, two.finished),
        correction=correction,
    )


def chosen(scores: Sequence[str], known: Sequence[str]) -> list[str]:
    """Returns the scores that were asked for, whatever their case; all where none was.

    Raises:
        PrefixcapError: a score is not known.
    """
    lower = {name.lower(): name for name in known}
    asked = [name for text in scores for name in text.split(",") if name]
    for name in asked:
        if name.lower() not in lower:
            close = get_close_matches(name.lower(), lower, n=1, cutoff=0.5)
            raise PrefixcapError(
                f"no score {name!r}{nearest(lower[close[0]] if close else name, known)}"
            )
    return [lower[name.lower()] for name in asked] or list(known)


def differing(differs: Differences, width: int) -> list[str]:
    """Writes what differs, a line each."""
    if not differs:
        return []
    lines = [f"  {key}: {one} | {two}" for key, (one, two) in differs.items()]
    return ["made differently (A | B):", *wrapped(lines, width)]


def verdict(
    lines: Sequence[Line],
    correction: str,
    labels: Sequence[str] | None = None,
    family: int | None = None,
) -> list[str]:
    """Says in words which differences are real, of a family of so many that are told of or not."""
    names = labels or [line.score for line in lines]
    groups: dict[str, list[str]] = {"A is higher": [], "B is higher": [], "may be chance": []}
    for name, line in zip(names, lines, strict=True):
        real = line.adjusted <= 1 - LEVEL + 1e-12
        way = "A is higher" if line.difference > 0 else "B is higher"
        groups[way if real else "may be chance"].append(name)
    said = "; ".join(f"{what}: {', '.join(found)}" for what, found in groups.items() if found)
    count = family or len(lines)
    several = f" after {NAMES[correction]} correction for {count}" if count > 1 else ""
    return [f"{said} (level {1 - LEVEL:.2g}{several})"]


def _score_table(
    lines: Sequence[Line], width: int, first: tuple[str, Sequence[str]] | None = None
) -> str:
    """Writes a line a score (or an entry), with fewer columns where the terminal is narrow."""
    head, names = first or ("score", [line.score for line in lines])
    columns = {head: list(names), "A": [], "B": [], "A - B": [], "95% interval": []}
    short = []
    for line in lines:
        least = 3 if max(abs(line.first), abs(line.second)) < 10 else 2
        digits = max(least, digits_of([(line.high - line.low) / 2]))
        columns["A"].append(f"{line.first:.{digits}f}")
        columns["B"].append(f"{line.second:.{digits}f}")
        columns["A - B"].append(f"{line.difference:+.{digits}f}")
        columns["95% interval"].append(f"[{line.low:+.{digits}f}, {line.high:+.{digits}f}]")
        sign = "+" if line.difference >= 0 else ""
        short.append(sign + number(line.difference, (line.low, line.high), digits))
    columns["p"] = [_p(line.p) for line in lines]
    columns["adjusted"] = [_p(line.adjusted) for line in lines]
    if any(line.higher is not None for line in lines):
        counts = [(line.higher, line.equal, line.lower) for line in lines]
        columns["A > B / = / <"] = [
            "" if each[0] is None else " / ".join(map(str, each)) for each in counts
        ]
    text = _written(columns)
    if len(text.partition("\n")[0]) > width:
        columns["A - B"] = short
        text = _written({k: v for k, v in columns.items() if k not in ("95% interval", "p")})
    return text


def _written(columns: Mapping[str, Sequence[str]]) -> str:
    return markdown(list(columns), [list(line) for line in zip(*columns.values(), strict=True)])


def _notes(one: Side, two: Side, level: float) -> list[str]:
    images = len(one.records)
    seeds = max(len(one.seeds), len(two.seeds)) > 1
    what = "and other seeds" if seeds else "(one seed: others may differ)"
    counts = "A > B / = / <: on how many images A's score is higher, equal, lower"
    return [f"{level:.0%} interval: over other images like these {images} {what}", counts]


def _p(value: float) -> str:
    return f"{value:.2g}" if value >= 1e-4 else f"{value:.0e}"


def _seeds(side: Side) -> str:
    return f" ({len(side.seeds)} seeds)" if len(side.seeds) > 1 else ""
