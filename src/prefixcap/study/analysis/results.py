"""What a study found: rows, and the files and tables made of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import attrs

from prefixcap.evaluation.stats import Replicates
from prefixcap.interfaces.dataset import Example
from prefixcap.study.analysis.analysis import Analysis, compute
from prefixcap.study.analysis.tables import markdown, page
from prefixcap.study.artifacts.folder import CAPTIONS, StudyFolder
from prefixcap.util.files import read_json, read_lines, write_json, write_lines, write_text
from prefixcap.util.progress import Reporter

__all__ = ["Results", "markdown"]


@attrs.define(kw_only=True, slots=False)
class Results:
    """What a study found.

    Attributes:
        folder: the study's folder.
        study: a digest of what is scored, and by what.
        rows: one a cell, as `bench --json` prints them.
        baselines: rows of captions that need no model.
        correction: the correction for many comparisons.
        replicates: each cell's scores on resampled images, the baselines' too.
        captions: the first lines of each cell, to be shown, by the cell's folder's name.
        test: the captioned examples.
        skipped: the ids of images that could not be read.
        warnings: what would make the numbers wrong.
        work: what this process had to do: images encoded, models trained, images mapped to
            prefixes, images decoded, metrics scored; everything else was there.
    """

    folder: Path
    study: str = ""
    rows: list[dict[str, Any]] = attrs.field(factory=list)
    baselines: list[dict[str, Any]] = attrs.field(factory=list)
    correction: str = "holm"
    replicates: dict[str, Replicates] = attrs.field(factory=dict, repr=False)
    captions: dict[str, list[dict[str, Any]]] = attrs.field(factory=dict, repr=False)
    test: Sequence[Example] = attrs.field(factory=list, repr=False)
    skipped: list[str] = attrs.field(factory=list)
    warnings: list[str] = attrs.field(factory=list)
    work: dict[str, int] = attrs.field(
        factory=lambda: {
            "encoded_images": 0,
            "trained_models": 0,
            "mapped_images": 0,
            "decoded_images": 0,
            "scored_metrics": 0,
        }
    )

    @cached_property
    def analysis(self) -> Analysis:
        """The entries with their intervals, and their comparisons; asked for when all is there."""
        return compute(self.rows, self.baselines, self.replicates)

    def warn(self, text: str, reporter: Reporter) -> None:
        """Keeps a warning, and says it, once."""
        if text not in self.warnings:
            self.warnings.append(text)
            reporter.message(text)

    def to_json(self) -> dict[str, Any]:
        """Returns what `bench --json` prints."""
        return {
            "run": str(self.folder),
            "rows": self.rows,
            "baselines": self.baselines,
            "table": self.analysis.summary(self.correction),
            "skipped_images": self.skipped,
            "warnings": self.warnings,
            "work": self.work,
        }

    def write(self) -> None:
        """Writes `scores.json`, `captions.jsonl` and `table.md` into the study's folder."""
        self._write_scores(complete=True)
        write_lines(StudyFolder(self.folder).captions, self._every_line())
        self.analysis.write(self.folder)
        write_text(
            StudyFolder(self.folder).table,
            page(self.analysis, self.rows, self.correction, self.warnings),
        )

    def write_part(self) -> None:
        """Writes what an unfinished study has found, unless as much of it was written before."""
        kept = read_json(StudyFolder(self.folder).scores) or {}
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
        write_lines(StudyFolder(self.folder).test, lines)

    def _write_scores(self, *, complete: bool) -> None:
        data = {
            "study": self.study,
            "complete": complete,
            "rows": self.rows,
            "baselines": self.baselines,
            "skipped_images": self.skipped,
            "warnings": self.warnings,
        }
        write_json(StudyFolder(self.folder).scores, data)

    def lines(self, cell: str) -> list[dict[str, Any]]:
        """Reads all lines of a cell: of a large grid there is no room for all at once."""
        return read_lines(StudyFolder(self.folder).cells / cell / CAPTIONS)

    def _every_line(self) -> Iterator[Mapping[str, Any]]:
        for cell in self.captions:
            for example, line in zip(self.test, self.lines(cell), strict=True):
                yield {
                    "image": example.image.id,
                    "references": list(example.references),
                    "cell": cell,
                    "captions": line["captions"],
                }
