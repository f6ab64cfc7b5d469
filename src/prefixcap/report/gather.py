"""From a study's folder to what a report says."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from prefixcap import runs
from prefixcap.errors import PrefixcapError, nearest
from prefixcap.registry import Registry
from prefixcap.report import findings, gallery, lines, reproduce, training
from prefixcap.report.content import Cell, Content, Gallery, Measures, Pair
from prefixcap.study import analysis
from prefixcap.study.analysis import CORRECTIONS, Analysis, Finished
from prefixcap.study.progress import Reporter, Silent

DIVERSITY = ("Distinct_2", "Distinct_1", "Vocabulary", "Distinct_captions")
NAMES = {"holm": "Holm", "benjamini-hochberg": "Benjamini-Hochberg"}


@attrs.frozen(kw_only=True)
class Wanted:
    """What is asked of a report.

    Attributes:
        score: what it is read by; the first of the usual ones unless given.
        images: at most so many images in the gallery.
        correction: how p-values are adjusted for many comparisons.
    """

    score: str | None = None
    images: int = 200
    correction: str = "holm"

    def __attrs_post_init__(self) -> None:
        if self.images < 0:
            raise PrefixcapError(f"--images must be at least 0, not {self.images}")
        if self.correction not in CORRECTIONS:
            hint = nearest(self.correction, CORRECTIONS)
            raise PrefixcapError(f"--correction cannot be {self.correction!r}{hint}")


def gather(folder: Path, wanted: Wanted, reporter: Reporter | None = None) -> Content:
    """Reads a study and computes what its report says.

    Args:
        folder: the study's folder.
        wanted: what is asked of the report.
        reporter: who is told what is being done.

    Raises:
        PrefixcapError: the folder holds no study, none of its cells is finished, or no cell has
            the score.
    """
    reporter = reporter or Silent()
    found = analysis.read(folder)
    names = list(dict.fromkeys(name for row in found.rows for name in row["scores"]))
    score = _quality(wanted.score, names)
    notes = _gaps(found)
    made = _analysis(found, reporter, notes)
    cells = lines.cells(made, found.rows, wanted.correction)
    pairs = _pairs(made, cells, score, wanted.correction)
    curves, untold = training.curves(found)
    notes += [f"{model} has no record of its training." for model in untold]
    content = Content(
        title=f"Captions of {_dataset(found.config['dataset'])}",
        measures=Measures(quality=score, diversity=_diversity(names, score)),
        cells=cells,
        single=lines.single(made, found.rows, cells),
        score_names=[score, *(name for name in names if name != score)],
        fact_names=list(dict.fromkeys(name for cell in cells for name in cell.facts)),
        pairs=pairs,
        correction=_correction(made, wanted.correction, len(pairs)),
        level=made.level,
        curves=curves,
        settings=reproduce.settings(found.config),
        config=json.dumps(found.config, indent=1, ensure_ascii=False),
        study_file=reproduce.study_file(found.config, Registry()),
        folder=str(found.folder),
        versions=_versions(found),
        date=time.strftime("%Y-%m-%d"),
        notes=notes,
        gallery=_gallery(found, made, cells, score, wanted.images, reporter),
    )
    return attrs.evolve(content, findings=findings.sentences(content, len(found.images)))


def _quality(score: str | None, names: Sequence[str]) -> str:
    if score is None:
        return next((name for name in analysis.MAIN if name in names), names[0])
    if score not in names:
        raise PrefixcapError(f"--score {score}: no cell was scored by it{nearest(score, names)}")
    return score


def _diversity(names: Sequence[str], quality: str) -> str | None:
    return next((name for name in DIVERSITY if name in names and name != quality), None)


def _gaps(found: Finished) -> list[str]:
    """Says what of a study is not there."""
    notes = []
    if not found.complete:
        notes.append("The study is not finished: these are the cells that are.")
    if found.skipped:
        shown = ", ".join(found.skipped[:3])
        count = len(found.skipped)
        notes.append(f"{count} images could not be read and were left out, such as {shown}.")
    if any("cell" not in row for row in found.baselines):
        notes.append(
            "An early version ran the study and did not keep the captions that need no model: "
            "prefixcap bench with the same --out adds them."
        )
    return notes


def _analysis(found: Finished, reporter: Reporter, notes: list[str]) -> Analysis:
    with reporter.task("comparing cells", len(found.cells), "cells") as task:
        try:
            made = analysis.analyse(found)
        except PrefixcapError as error:
            notes.append(f"There are no intervals and no comparisons: {error}.")
            made = analysis.compute(found.rows, found.baselines, {})
        task.reach(len(found.cells))
    return made


def _pairs(
    made: Analysis, cells: Sequence[Cell], score: str, correction: str
) -> dict[tuple[str, str], Pair]:
    if score not in made.pairs:
        return {}
    pairs = {}
    compared = made.compared(score)
    for place, first in enumerate(compared):
        for second in compared[place + 1 :]:
            found = made.contrast(first, second, score)
            p = found.adjusted[correction]
            real = p <= 1 - made.level + 1e-12
            pairs[cells[first].id, cells[second].id] = Pair(
                value=found.value, low=found.low, high=found.high, p=p, real=real
            )
    return pairs


def _correction(made: Analysis, correction: str, pairs: int) -> str:
    return f"paired bootstrap, {NAMES[correction]} over {pairs:,} pairs, {1 - made.level:.2g}"


def _gallery(
    found: Finished,
    made: Analysis,
    cells: Sequence[Cell],
    score: str,
    images: int,
    reporter: Reporter,
) -> Gallery | None:
    if not images:
        return None
    names = lines.names(made, found.rows, cells)
    shown = min(images, len(found.images))
    with reporter.task("reading images", shown, "images") as task:
        order = lines.contrasted(made, cells, score)
        return gallery.collect(found, names, order, images, task.reach)


def _dataset(data: Mapping[str, Any]) -> str:
    path = data.get("path")
    return Path(str(path)).name if path else str(data["name"])


def _versions(found: Finished) -> dict[str, str]:
    """Returns what the study ran with, and this version of prefixcap where it is another."""
    here = runs.versions()
    kept = {name: str(version) for name, version in found.config.get("versions", {}).items()}
    ran = kept.get("prefixcap", here["prefixcap"])
    if ran == here["prefixcap"]:
        return {**here, **kept}
    return {**here, **kept, "prefixcap": here["prefixcap"], "prefixcap of the study": ran}
