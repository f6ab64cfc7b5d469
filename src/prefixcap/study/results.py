"""What a study found: rows, and the files and tables made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from prefixcap.kinds import Example
from prefixcap.study.store import read_json, write_json, write_lines, write_text

SCORES = "scores.json"
TEST = "test.jsonl"


@attrs.define(kw_only=True)
class Results:
    """What a study found.

    Attributes:
        folder: the study's folder.
        study: a digest of the study.
        rows: one a cell, as `bench --json` prints them.
        baselines: rows of captions that need no model.
        captions: the lines of each cell, by the cell's folder's name.
        test: the captioned examples.
        skipped: the ids of images that could not be read.
        work: what this process had to do: images encoded, models trained, images decoded,
            metrics scored; everything else was there.
    """

    folder: Path
    study: str = ""
    rows: list[dict[str, Any]] = attrs.field(factory=list)
    baselines: list[dict[str, Any]] = attrs.field(factory=list)
    captions: dict[str, list[dict[str, Any]]] = attrs.field(factory=dict, repr=False)
    test: Sequence[Example] = attrs.field(factory=list, repr=False)
    skipped: list[str] = attrs.field(factory=list)
    work: dict[str, int] = attrs.field(
        factory=lambda: {
            "encoded_images": 0,
            "trained_models": 0,
            "decoded_images": 0,
            "scored_metrics": 0,
        }
    )

    def to_json(self) -> dict[str, Any]:
        """Returns what `bench --json` prints."""
        return {
            "run": str(self.folder),
            "rows": self.rows,
            "baselines": self.baselines,
            "skipped_images": self.skipped,
            "work": self.work,
        }

    def write(self) -> None:
        """Writes `scores.json`, `captions.jsonl` and `table.md` into the study's folder."""
        self._write_scores(complete=True)
        write_lines(self.folder / "captions.jsonl", list(self._lines()))
        write_text(self.folder / "table.md", markdown(*table(self.rows, self.baselines)))

    def write_part(self) -> None:
        """Writes what an unfinished study has found, unless as much of it was written before."""
        kept = read_json(self.folder / SCORES) or {}
        if kept.get("study") != self.study or len(kept["rows"]) < len(self.rows):
            self._write_scores(complete=False)

    def write_test(self) -> None:
        """Writes `test.jsonl`: the captioned images, where they are, and their references."""
        lines = [
            {
                "image": example.image.id,
                "path": str(example.image.path.resolve()) if example.image.path else None,
                "references": list(example.references),
            }
            for example in self.test
        ]
        write_lines(self.folder / TEST, lines)

    def _write_scores(self, *, complete: bool) -> None:
        data = {"study": self.study, "complete": complete, **self.to_json()}
        del data["run"], data["work"]
        write_json(self.folder / SCORES, data)

    def _lines(self) -> list[Mapping[str, Any]]:
        return [
            {
                "image": example.image.id,
                "references": list(example.references),
                "cell": cell,
                "captions": line["captions"],
            }
            for cell, lines in self.captions.items()
            for example, line in zip(self.test, lines, strict=True)
        ]


VARIED = {"encoder": "encoder", "lm": "lm", "tuning": "tuning", "seed": "seed"}


def table(
    rows: Sequence[Mapping[str, Any]],
    baselines: Sequence[Mapping[str, Any]] = (),
    scores: Sequence[str] | None = None,
) -> tuple[list[str], list[list[str]]]:
    """Lays rows out: the names of the columns, and the cells' texts.

    Args:
        rows: the rows of a study.
        baselines: rows of captions that need no model.
        scores: the scores to show; all unless given.
    """
    varied = [key for key in VARIED if len({str(row[key]) for row in rows}) > 1]
    names = list(dict.fromkeys(name for row in rows for name in row["scores"]))
    shown = names if scores is None else [name for name in names if name in scores]
    fixed = ["mapper", "P", "decoder"]
    header = [*varied, *fixed, *shown, "captions/s", "trained"]
    body = [
        [
            *(str(row[key]) for key in varied),
            str(row["mapper"]),
            str(row["prefix_length"]),
            str(row["decoder"]),
            *(_number(row["scores"].get(name)) for name in shown),
            f"{row['captions_per_second']:.1f}",
            f"{row['trained_parameters']:,}",
        ]
        for row in rows
    ]
    body += [
        [
            *("" for _ in varied),
            f"({row['name']})",
            "",
            "",
            *(_number(row["scores"].get(name)) for name in shown),
            "",
            "",
        ]
        for row in baselines
    ]
    return header, body


def markdown(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Writes a table as Markdown, its columns aligned."""
    widths = [max(len(line[i]) for line in (header, *body)) for i in range(len(header))]

    def write(line: Sequence[str]) -> str:
        cells = (text.ljust(width) for text, width in zip(line, widths, strict=True))
        return f"| {' | '.join(cells)} |"

    rule = f"| {' | '.join('-' * width for width in widths)} |"
    return "\n".join([write(header), rule, *map(write, body)]) + "\n"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.0f}" if float(value).is_integer() and abs(value) > 1 else f"{value:.4f}"
