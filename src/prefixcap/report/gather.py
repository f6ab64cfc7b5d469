"""From a study's folder to what a report says."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import attrs

from prefixcap.errors import PrefixcapError, nearest
from prefixcap.plugin.registry import default_registry
from prefixcap.report import findings, gallery, lines, reproduce, training
from prefixcap.report.content import Cell, Content, Gallery, Measures, Pair
from prefixcap.report.numbers import counted
from prefixcap.study.analysis import analysis
from prefixcap.study.analysis.analysis import CORRECTIONS, Analysis
from prefixcap.study.analysis.reader import SavedStudy
from prefixcap.study.artifacts.folder import StudyFolder
from prefixcap.study.definition.study import HOLM
from prefixcap.util import versions
from prefixcap.util.progress import Reporter, Silent

DIVERSITY = ("Distinct_2", "Distinct_1", "Vocabulary", "Distinct_captions")
NAMES = {"holm": "Holm", "benjamini-hochberg": "Benjamini-Hochberg"}


@attrs.frozen(kw_only=True)
class Wanted:
    """What is asked of a report.

    Attributes:
        score: what it is read by; the first of the usual ones unless given.
        images: at most so many images in the gallery.
        correction: how p-values are adjusted for many comparisons; as the study was run with
            unless given.
    """

    score: str | None = None
    images: int = 200
    correction: str | None = None

    def __attrs_post_init__(self) -> None:
        if self.images < 0:
            raise PrefixcapError(f"--images must be at least 0, not {self.images}")
        if self.correction is not None and self.correction not in CORRECTIONS:
            hint = nearest(self.correction, CORRECTIONS)
            raise PrefixcapError(f"--correction cannot be {self.correction!r}{hint}")

    def correction_of(self, found: SavedStudy) -> str:
        """Returns how the p-values of a study are adjusted.

        Raises:
            PrefixcapError: its `config.json` says what is not known.
        """
        name = self.correction or str(found.config.get("correction", HOLM))
        if name not in CORRECTIONS:
            raise PrefixcapError(
                f"{StudyFolder(found.folder).config}: 'correction' cannot be {name!r}"
                f"{nearest(name, CORRECTIONS)}; --correction overrides it"
            )
        return name


def gather(folder: Path, wanted: Wanted, reporter: Reporter | None = None) -> Content:
    """Reads a study and computes what its report says.

    Args:
        folder: the study's folder.
        wanted: what is asked of the report.
        reporter: who is told what is being done.

    Raises:
        PrefixcapError: the folder holds no study, none of its cells is finished, no cell has the
            score for all of its seeds, or its correction is not known.
    """
    reporter = reporter or Silent()
    found = analysis.read(folder)
    names = list(dict.fromkeys(name for row in found.rows for name in row["scores"]))
    correction = wanted.correction_of(found)
    notes = _gaps(found)
    made = _analysis(found, reporter, notes)
    cells = lines.cells(made, found.rows, correction)
    score = _quality(wanted.score, cells, names)
    pairs = _pairs(made, cells, score, correction)
    curves, untold = training.curves(found)
    notes += [f"{model} has no record of its training." for model in untold]
    content = Content(
        title=f"Captions of {_dataset(found.config['dataset'])}",
        measures=Measures(
            quality=score,
            more_is_better=lines.more_is_better(score),
            diversity=_diversity(names, score),
        ),
        cells=cells,
        single=lines.single(made, found.rows, cells),
        score_names=[score, *(name for name in names if name != score)],
        fact_names=list(dict.fromkeys(name for cell in cells for name in cell.facts)),
        pairs=pairs,
        correction=_correction(made, correction, len(pairs)),
        level=made.level,
        curves=curves,
        settings=reproduce.settings(found.config),
        config=json.dumps(found.config, indent=1, ensure_ascii=False),
        study_file=reproduce.study_file(found.config, default_registry()),
        folder=str(found.folder),
        versions=_versions(found),
        date=time.strftime("%Y-%m-%d"),
        warnings=[_sentence(warning) for warning in found.warnings],
        notes=notes,
        gallery=_gallery(found, made, cells, score, wanted.images, reporter),
    )
    return attrs.evolve(content, findings=findings.sentences(content, len(found.images)))


def _quality(score: str | None, cells: Sequence[Cell], names: Sequence[str]) -> str:
    """Returns the score that the report is read by, whatever the case that it was written in."""
    grid = [cell for cell in cells if not cell.baseline]
    whole = list(dict.fromkeys(name for cell in grid for name in cell.scores))
    if not whole:
        raise PrefixcapError(
            "no cell of the study has a score for all of its seeds: run `prefixcap bench` with its "
            "--out again, and --metrics such as cider"
        )
    if score is None:
        return next((name for name in analysis.MAIN if name in whole), whole[0])
    found = {name.lower(): name for name in names}.get(score.lower())
    if found is None:
        raise PrefixcapError(f"--score {score}: no cell was scored by it{nearest(score, whole)}")
    if found not in whole:
        raise PrefixcapError(
            f"--score {score}: no cell has it for all of its seeds{nearest(score, whole)}"
        )
    return found


def _diversity(names: Sequence[str], quality: str) -> str | None:
    return next((name for name in (quality, *DIVERSITY) if name in {*names} & {*DIVERSITY}), None)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}".rstrip(".") + "."


def _gaps(found: SavedStudy) -> list[str]:
    """Says what of a study is not there."""
    notes = []
    if not found.complete:
        notes.append("The study is not finished: these are the cells that are.")
    if found.skipped:
        shown = ", ".join(found.skipped[:3])
        count = len(found.skipped)
        verb = "was" if count == 1 else "were"
        notes.append(
            f"{counted(count, 'image')} could not be read and {verb} left out, such as {shown}."
        )
    if any("cell" not in row for row in found.baselines):
        notes.append(
            "An early version ran the study and did not keep the captions that need no model: "
            "prefixcap bench with the same --out adds them."
        )
    return notes


def _analysis(found: SavedStudy, reporter: Reporter, notes: list[str]) -> Analysis:
    with reporter.task("comparing cells", len(found.cells), "cells") as task:
        try:
            made = analysis.analyse(found)
        except PrefixcapError as error:
            notes.append(f"There are no intervals and no comparisons: {error}.")
            made = analysis.compute(found.rows, found.baselines, {})
        task.update(len(found.cells))
    return made


def _pairs(
    made: Analysis, cells: Sequence[Cell], score: str, correction: str
) -> dict[tuple[str, str], Pair]:
    if score not in made.pairs:
        return {}
    found = made.pairs[score]
    # read in the order in which they are kept: looking each up takes minutes for a thousand cells
    columns = (found[what] for what in ("value", "low", "high", correction))
    numbers = combinations(found["entries"], 2)
    return {
        (cells[first].id, cells[second].id): Pair(
            value=value, low=low, high=high, p=p, real=p <= 1 - made.level + 1e-12
        )
        for (first, second), value, low, high, p in zip(numbers, *columns, strict=True)
    }


def _correction(made: Analysis, correction: str, pairs: int) -> str:
    return f"paired bootstrap, {NAMES[correction]} over {pairs:,} pairs, {1 - made.level:.2g}"


def _gallery(
    found: SavedStudy,
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
        return gallery.collect(found, names, order, images, task.update)


def _dataset(data: Mapping[str, Any]) -> str:
    path = data.get("path")
    return Path(str(path)).name if path else str(data["name"])


def _versions(found: SavedStudy) -> dict[str, str]:
    """Returns what the study ran with, and this version of prefixcap where it is another."""
    here = versions.versions()
    kept = {name: str(version) for name, version in found.config.get("versions", {}).items()}
    ran = kept.get("prefixcap", here["prefixcap"])
    if ran == here["prefixcap"]:
        return {**here, **kept}
    return {**here, **kept, "prefixcap": here["prefixcap"], "prefixcap of the study": ran}
