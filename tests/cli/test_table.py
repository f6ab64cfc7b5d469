from __future__ import annotations

from pathlib import Path

from prefixcap.cli.table import IMAGES, LINES, _captions
from prefixcap.interfaces.dataset import Example, ImageItem
from prefixcap.study.analysis.results import Results
from prefixcap.study.analysis.rows import FIELDS


def results(lines: int) -> Results:
    rows = [
        {**dict.fromkeys(FIELDS, "same"), "prefix_length": n, "cell": str(n), "seed": 0}
        for n in range(lines)
    ]
    test = [
        Example(image=ImageItem(id=f"image-{n}", index=n), references=("a", "b", "c"))
        for n in range(9)
    ]
    captions = {row["cell"]: [{"captions": [{"text": "word"}]}] * 9 for row in rows}
    return Results(folder=Path("runs"), rows=rows, captions=captions, test=test)


def test_captions_of_a_few_lines_are_all_shown() -> None:
    shown = _captions(results(LINES))
    assert len(shown) == IMAGES * (1 + LINES + 2) + 1
    assert shown[:2] == ["image-0", "  same P=0 same: word"]
    assert shown[1 + LINES : 3 + LINES] == ["  reference: a", "  reference: b"]


def test_captions_of_a_large_grid_do_not_fill_the_terminal() -> None:
    shown = _captions(results(1188))
    assert len(shown) == IMAGES * (1 + LINES + 2) + 2
    assert shown[-2].startswith("(captions of 1164 more cells: captions.jsonl")
