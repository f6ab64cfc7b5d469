"""What came out of a study, in a few sentences."""

from __future__ import annotations

from collections.abc import Sequence

from prefixcap.report.content import BEST, TIED, Cell, Content
from prefixcap.report.figures.matrix import between
from prefixcap.report.numbers import columns, counted, interval, number


def sentences(content: Content, images: int) -> list[str]:
    """Says which cell is best, what cannot be told from it, and how it stands to no model at all.

    Of a score of which more is not better, it says which cell has the most.

    Args:
        content: the report's, whose findings are not there yet.
        images: how many images were captioned.
    """
    score = content.measures.quality
    grid = [cell for cell in content.cells if not cell.baseline and score in cell.scores]
    best = max(grid, key=lambda cell: cell.scores[score].value)
    seeds = max(len(cell.seeds) for cell in grid)
    mean = f", the mean of {seeds} seeds" if seeds > 1 else ""
    first = f"{best.label} has the highest {score}"
    if content.measures.more_is_better:
        first = f"By {score}, {best.label} is best"
    found = [
        f"{counted(images, 'image')}, {counted(len(grid), 'cell')}. "
        f"{first}: {_value(content, best)}{mean}."
    ]
    ranked = sorted(grid, key=lambda cell: -cell.scores[score].value)
    tied = [cell for cell in ranked if cell.scores[score].mark == TIED]
    if len(grid) > 1 and best.scores[score].mark == BEST:
        found.append(_tied(tied, len(grid) - 1, content.correction))
    found += _baselines(content, grid)
    if seeds == 1 and content.pairs:
        found.append("With one seed, the intervals and tests say nothing about other seeds.")
    return found


def _tied(tied: Sequence[Cell], others: int, correction: str) -> str:
    if not tied:
        return f"It is significantly better than every other cell ({correction})."
    if len(tied) == others > 4:
        return f"None of the {others} others can be told from it ({correction})."
    names = ", ".join(cell.label for cell in tied[:4])
    more = f" and {len(tied) - 4} more" if len(tied) > 4 else ""
    return (
        f"{len(tied)} of the {others} others cannot be told from it ({correction}): {names}{more}."
    )


def _baselines(content: Content, grid: Sequence[Cell]) -> list[str]:
    score = content.measures.quality
    known = [cell for cell in content.cells if cell.baseline and score in cell.scores]
    if not known:
        return []
    top = max(known, key=lambda cell: cell.scores[score].value)
    pairs = [between(content.pairs, cell.id, top.id) for cell in grid]
    compared = [pair for pair in pairs if pair is not None]
    how, more = ("", "better") if content.measures.more_is_better else ("the highest, ", "higher")
    text = f"Without any model, {top.label} has {how}{_value(content, top)}"
    if not compared:
        return [f"{text}."]
    above = sum(pair.real and pair.value > 0 for pair in compared)
    how_many = "none" if not above else "all" if above == len(grid) else f"{above}"
    verb = "is" if above in (0, 1) else "are"
    return [f"{text}: {how_many} of the {len(grid)} cells {verb} significantly {more}."]


def _value(content: Content, cell: Cell) -> str:
    score = content.measures.quality
    decimals = columns(content.cells)[score]
    found = cell.scores[score]
    return f"{number(found.value, decimals)} {interval(found.low, found.high, decimals)}".strip()
