"""The results of a study in a few sentences."""

from __future__ import annotations

from collections.abc import Sequence

from prefixcap.report.content import BEST, TIED, Content, ReportRow
from prefixcap.report.figures.matrix import between
from prefixcap.report.numbers import counted, interval, number, table_decimals


def sentences(content: Content, images: int) -> list[str]:
    """Return sentences on the best row, the rows that tie with it, and the baselines.

    If no direction of the score is better, they name the row with the highest one.
    """
    score = content.quality
    grid = content.grid
    best, *_ = ranked = content.ranked(grid)
    seeds = max(len(row.seeds) for row in grid)
    mean = f", the mean of {seeds} seeds" if seeds > 1 else ""
    highest = f"{best.label} has the highest {score}"
    first = f"By {score}, {best.label} is best" if content.scale.better else highest
    texts = [
        f"{counted(images, 'image')}, {counted(len(grid), 'row')} with a model. "
        f"{first}: {_value(content, best)}{mean}."
    ]
    tied = [row for row in ranked if row.marks.get(score) == TIED]
    if len(grid) > 1 and best.marks.get(score) == BEST:
        texts.append(_ties(tied, len(grid) - 1, content.correction))
    texts += _baselines(content, grid)
    if seeds == 1 and content.pairs:
        texts.append("With one seed, the intervals and tests say nothing about other seeds.")
    return texts


def _ties(tied: Sequence[ReportRow], others: int, correction: str) -> str:
    if not tied:
        return f"It is significantly better than every other row ({correction})."
    if len(tied) == others > 4:
        return f"None of the {others} other rows is significantly worse ({correction})."
    names = ", ".join(row.label for row in tied[:4])
    more = f" and {len(tied) - 4} more" if len(tied) > 4 else ""
    verb = "is" if len(tied) == 1 else "are"
    count = f"{len(tied)} of {counted(others, 'other row')}"
    return f"{count} {verb} not significantly worse ({correction}): {names}{more}."


def _baselines(content: Content, grid: Sequence[ReportRow]) -> list[str]:
    if not content.baselines:
        return []
    top, sign = content.ranked(content.baselines)[0], content.scale.sign
    pairs = [between(content.pairs, row.id, top.id) for row in grid]
    compared = [pair for pair in pairs if pair is not None]
    how, more = ("", "better") if content.scale.better else ("the highest, ", "higher")
    text = f"Without any model, {top.label} has {how}{_value(content, top)}"
    if not compared:
        return [f"{text}."]
    above = sum(pair.significant and sign * pair.value > 0 for pair in compared)
    count = "none" if not above else "all" if above == len(grid) else f"{above}"
    verb = "is" if above in (0, 1) else "are"
    return [f"{text}: {count} of the {len(grid)} rows {verb} significantly {more}."]


def _value(content: Content, row: ReportRow) -> str:
    score = content.quality
    decimals = table_decimals(content.rows)[score]
    estimate = row.scores[score]
    return f"{number(estimate.value, decimals)} {interval(estimate, decimals)}".strip()
