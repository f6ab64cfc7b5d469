"""The results of a running study: rows, and the files and tables written from them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import attrs

from prefixcap.evaluation.stats import Replicates
from prefixcap.interfaces.dataset import Example
from prefixcap.interfaces.metric import MetricConfig
from prefixcap.study.analysis.analysis import Analysis
from prefixcap.study.analysis.analyze import compute, scales
from prefixcap.study.analysis.tables import page
from prefixcap.study.artifacts import captions
from prefixcap.study.artifacts.folder import StudyFolder
from prefixcap.study.artifacts.shapes import STUDY_SCORES
from prefixcap.util.files import AlteredError, read_json, write_json, write_lines, write_text
from prefixcap.util.progress import Reporter

PAUSE = 20
"""How many times as long as the last writing took the next one waits."""
COUNTERS = ("encoded_images", "trained_models", "mapped_images", "decoded_images", "scored_metrics")


@attrs.define(kw_only=True, slots=False, repr=False)
class Results:
    """The results of a study.

    Attributes:
        folder: The study's folder.
        study: A digest of the captions and the metrics.
        rows: A row per cell, as `bench --json` prints them.
        baselines: A row per baseline.
        metrics: The metrics, which tell how scores are read.
        correction: The correction for multiple comparisons.
        replicates: The scores of each cell and baseline on resampled images.
        captions: The first lines of each cell, to be shown, by the name of the cell's folder.
        test: The captioned examples.
        skipped: The ids of images that could not be read.
        warnings: Problems that make the numbers wrong.
        work: The work done by this process: images encoded, models trained, images mapped to
            prefixes, images decoded, metrics scored; everything else was stored already.
        digests: The SHA-256 of the study's files of JSON lines, which `scores.json` holds.
    """

    folder: Path
    study: str = ""
    rows: list[dict[str, Any]] = attrs.field(factory=list)
    baselines: list[dict[str, Any]] = attrs.field(factory=list)
    metrics: Sequence[MetricConfig] = ()
    correction: str = "holm"
    replicates: dict[str, Replicates] = attrs.field(factory=dict, repr=False)
    captions: dict[str, list[dict[str, Any]]] = attrs.field(factory=dict, repr=False)
    test: Sequence[Example] = attrs.field(factory=list, repr=False)
    skipped: list[str] = attrs.field(factory=list)
    warnings: list[str] = attrs.field(factory=list)
    work: dict[str, int] = attrs.field(factory=lambda: dict.fromkeys(COUNTERS, 0))
    digests: dict[str, str] = attrs.field(factory=dict, repr=False)
    _next_part: float = attrs.field(default=0.0, init=False, eq=False)

    def __repr__(self) -> str:
        return f"<Results of {self.folder}: {len(self.rows)} cells>"

    @property
    def _files(self) -> StudyFolder:
        return StudyFolder(self.folder)

    @cached_property
    def analysis(self) -> Analysis:
        """The table rows with intervals and comparisons; use it once all cells are finished."""
        read = scales(self.metrics, (*self.rows, *self.baselines))
        return compute(self.rows, self.baselines, self.replicates, scales=read)

    def warn(self, text: str, reporter: Reporter) -> None:
        """Store a warning and print it, once."""
        if text not in self.warnings:
            self.warnings.append(text)
            reporter.message(text)

    def to_json(self) -> dict[str, Any]:
        """Return what `bench --json` prints."""
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
        """Write `captions.jsonl`, `scores.json`, the analysis and `table.md`."""
        path = self._files.captions
        self.digests[path.name] = write_lines(path, self._every_line())
        self._write_scores(complete=True)
        self.analysis.write(self.folder)
        text = page(self.analysis, self.rows, self.correction, self.warnings)
        write_text(self._files.table, text)

    def write_part(self) -> None:
        """Write the scores of an unfinished study, unless as many were written before.

        All rows are written each time, so in a large grid not after every cell.
        """
        begin = time.monotonic()
        if begin < self._next_part:
            return
        try:
            saved = read_json(self._files.scores, STUDY_SCORES) or {}
        except AlteredError:
            saved = {}
        if saved.get("study") != self.study or len(saved["rows"]) < len(self.rows):
            self._write_scores(complete=False)
        end = time.monotonic()
        self._next_part = end + PAUSE * (end - begin)

    def write_test(self) -> None:
        """Write `test.jsonl`: the captioned images and references, no paths of this machine."""
        lines = (
            {"image": example.image.id, "references": list(example.references)}
            for example in self.test
        )
        self.digests[self._files.test.name] = write_lines(self._files.test, lines)

    def _write_scores(self, *, complete: bool) -> None:
        data = {
            "study": self.study,
            "complete": complete,
            "rows": self.rows,
            "baselines": self.baselines,
            "skipped_images": self.skipped,
            "warnings": self.warnings,
            "digests": self.digests,
        }
        write_json(self._files.scores, data)

    def lines(self, cell: str) -> list[dict[str, Any]]:
        """Read the lines of a cell; those of a large grid do not fit into memory together."""
        return captions.read(self._files.cells / cell)[0]

    def _every_line(self) -> Iterator[Mapping[str, Any]]:
        for cell in self.captions:
            for example, line in zip(self.test, self.lines(cell), strict=True):
                yield {
                    "image": example.image.id,
                    "references": list(example.references),
                    "cell": cell,
                    "captions": line["captions"],
                }
