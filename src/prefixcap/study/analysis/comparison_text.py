"""Comparisons as text for a terminal: the differing settings, the scores and the images."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from prefixcap.errors import PrefixcapError, nearest
from prefixcap.study.analysis.analysis import LEVEL, TITLES, main_score
from prefixcap.study.analysis.comparison import Comparison, PairComparison, ScoreComparison
from prefixcap.study.analysis.tables import Columns, decimals_for, markdown, score_text, wrapped
from prefixcap.util.text import truncated, visible

LONGEST = 500
"""Characters of a caption or reference that are shown."""


def comparison_text(
    comparison: Comparison, scores: Sequence[str] = (), images: int = 3, width: int = 160
) -> str:
    """Render a comparison for a terminal of some width.

    A single pair has a table of scores (all by default) and, for each side, some images on which
    it is higher; several pairs have a table of pairs for each score (by default the main one).
    """
    known = [*comparison.pairs[0].scores]
    only = comparison.pairs[0] if len(comparison.pairs) == 1 else None
    lines = _heading(comparison, only)
    if comparison.config_diff:
        rows = [f"  {key}: {one} | {two}" for key, (one, two) in comparison.config_diff.items()]
        lines += ["settings that differ (A | B):", *wrapped(rows, width)]
    lines.append("")
    if only is not None:
        names = pick_scores(scores, known)
        compared = [only.scores[name] for name in names]
        lines.append(_table("score", names, compared, width))
        lines += wrapped([_verdict(names, compared, comparison.correction, len(known))], width)
    else:
        labels = [pair.label for pair in comparison.pairs]
        main = main_score(known, comparison.pairs[0].scales) or known[0]
        for name in pick_scores(scores or [main], known):
            compared = [pair.scores[name] for pair in comparison.pairs]
            lines += [f"{name}:", _table("row", labels, compared, width)]
            verdict = _verdict(labels, compared, comparison.correction, len(labels))
            lines += wrapped([verdict], width)
    lines += wrapped(_notes(comparison.pairs[0]), width)
    for name, alone in zip("AB", comparison.unmatched, strict=True):
        if alone:
            lines += wrapped([f"only in {name}: {', '.join(map(visible, alone))}"], width)
    if only is not None and images:
        lines += _images(only, images)
    return "\n".join(lines)


def pick_scores(requested: Sequence[str], known: Sequence[str]) -> list[str]:
    """Return the scores that were asked for, in any case; all if none were.

    Raises:
        PrefixcapError: If a score is unknown.
    """
    lower = {name.lower(): name for name in known}
    names = [name for text in requested for name in text.split(",") if name]
    for name in names:
        if name.lower() not in lower:
            close = get_close_matches(name.lower(), lower, n=1, cutoff=0.5)
            raise PrefixcapError(
                f"no score {name!r}{nearest(lower[close[0]] if close else name, known)}"
            )
    return [lower[name.lower()] for name in names] or list(known)


def _heading(comparison: Comparison, only: PairComparison | None) -> list[str]:
    counts = [side.seed_count for side in only.sides] if only else [1, 1]
    seeds = [f" ({count} seeds)" if count > 1 else "" for count in counts]
    parts = zip("AB", comparison.names, seeds, strict=True)
    return [f"{letter}: {visible(name)}{count}" for letter, name, count in parts]


def _verdict(
    names: Sequence[str], compared: Sequence[ScoreComparison], correction: str, family: int
) -> str:
    groups: dict[str, list[str]] = {"A is higher": [], "B is higher": [], "not significant": []}
    for name, each in zip(names, compared, strict=True):
        higher = "A is higher" if each.difference.value > 0 else "B is higher"
        groups[higher if each.difference.significant else "not significant"].append(name)
    verdict = "; ".join(
        f"{group}: {', '.join(members)}" for group, members in groups.items() if members
    )
    corrected = f", {TITLES[correction]} correction for {family}" if family > 1 else ""
    return f"{verdict} (level {1 - LEVEL:.2g}{corrected})"


def _table(head: str, names: Sequence[str], compared: Sequence[ScoreComparison], width: int) -> str:
    """Render a row per comparison, with fewer columns if the terminal is narrow."""
    columns: Columns = {head: names, "A": [], "B": [], "A - B": [], "95% interval": []}
    short = []
    for each in compared:
        value, low, high = each.difference.value, each.difference.low, each.difference.high
        min_digits = 3 if max(abs(each.first), abs(each.second)) < 10 else 2
        digits = max(min_digits, decimals_for([(high - low) / 2]))
        for key, text in (
            ("A", f"{each.first:.{digits}f}"),
            ("B", f"{each.second:.{digits}f}"),
            ("A - B", f"{value:+.{digits}f}"),
            ("95% interval", f"[{low:+.{digits}f}, {high:+.{digits}f}]"),
        ):
            columns[key] = [*columns[key], text]
        short.append(("+" if value >= 0 else "") + score_text(value, (low, high), digits))
    columns["p"] = [_p(each.difference.p) for each in compared]
    columns["adjusted"] = [_p(each.difference.adjusted) for each in compared]
    if any(each.higher is not None for each in compared):
        counts = [(each.higher, each.equal, each.lower) for each in compared]
        columns["A > B / = / <"] = [
            "" if each[0] is None else " / ".join(map(str, each)) for each in counts
        ]
    text = markdown(columns)
    if len(text.partition("\n")[0]) > width:
        columns["A - B"] = short
        text = markdown({k: v for k, v in columns.items() if k not in ("95% interval", "p")})
    return text


def _notes(pair: PairComparison) -> list[str]:
    images = len(pair.sides[0].images)
    seeds = max(side.seed_count for side in pair.sides) > 1
    source = "and other seeds" if seeds else "(one seed: others may differ)"
    return [
        f"{LEVEL:.0%} interval: over other images like these {images} {source}",
        "A > B / = / <: the number of images on which A's score is higher, equal, lower",
    ]


def _images(pair: PairComparison, count: int) -> list[str]:
    images = pair.largest(count)
    if not images:
        return []
    first = " (captions are the first seed's)" if pair.sides[0].seed_count > 1 else ""
    lines = ["", f"largest differences, by the image's {pair.main}{first}:"]
    for each in images:
        lines.append(f"{visible(each['image'])}  A - B {each['difference']:+.3f}")
        lines += [
            f"  {side.upper()}: {visible(truncated(each[side], LONGEST)) or '(empty)'}"
            for side in "ab"
        ]
        lines.append(f"  reference: {visible(truncated(each['references'][0], LONGEST))}")
    return lines


def _p(value: float) -> str:
    return f"{value:.2g}" if value >= 1e-4 else f"{value:.0e}"
