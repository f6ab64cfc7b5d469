"""Gather the content of a report from a study's folder."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from prefixcap.errors import PrefixcapError, nearest
from prefixcap.evaluation.stats import Difference
from prefixcap.interfaces.metric import Scale
from prefixcap.plugin.registry import default_registry
from prefixcap.report import findings, gallery, gaps
from prefixcap.report import rows as report_rows
from prefixcap.report.content import Content, Gallery, ReportRow
from prefixcap.report.numbers import counted
from prefixcap.study.analysis.analysis import TITLES, Analysis, correction_for, main_score, ranked
from prefixcap.study.analysis.analyze import analyze, compute, scales_of
from prefixcap.study.analysis.reader import SavedStudy, load_study
from prefixcap.study.definition import options
from prefixcap.study.definition.study import TEXTS, Study
from prefixcap.util import runtime
from prefixcap.util.progress import Reporter, Silent

GALLERY = 40
"""Cells with a model whose captions are in the gallery: the best ones, if there are more."""
COMPONENTS = {
    name: field.name
    for name, field in options.FIELDS.items()
    if options.OPTIONS[name].many and name not in ("prefix_len", "seed", "train_on", "bridge")
}


def gather(
    folder: Path,
    score: str | None,
    images: int,
    correction: str | None,
    reporter: Reporter | None = None,
    *,
    pictures: bool = True,
) -> Content:
    """Read a study and compute the content of its report; see `write`.

    Without `pictures`, the gallery has captions only, and the data set is not opened.
    """
    if images < 0:
        raise PrefixcapError(f"--images must be at least 0, not {images}")
    reporter = reporter or Silent()
    study = load_study(folder)
    names = list(dict.fromkeys(name for row in study.rows for name in row["scores"]))
    correction = correction_for(study, chosen=correction)
    notes = _gaps(study)
    analysis = _analyze(study, reporter, notes)
    rows = report_rows.grouped_rows(analysis, study.rows, correction)
    score = _quality(score, rows, names, analysis.scales)
    pairs = _pairs(analysis, rows, score, correction)
    curves, untracked = report_rows.curves(study)
    notes += [f"{model} has no training history." for model in untracked]
    content = Content(
        title=f"Captions of {_dataset(study.config['dataset'])}",
        quality=score,
        scale=analysis.scale(score),
        headlines=[name for name in names if analysis.scale(name).headline],
        diversity=_diversity(names, score, analysis.scales),
        rows=rows,
        single=report_rows.single_rows(analysis, study.rows, rows),
        score_names=[score, *(name for name in names if name != score)],
        fact_names=list(dict.fromkeys(name for row in rows for name in row.facts)),
        pairs=pairs,
        correction=(
            f"paired bootstrap, {TITLES[correction]} over {len(pairs):,} pairs, "
            f"{1 - analysis.level:.2g}"
        ),
        level=analysis.level,
        images=len(study.images),
        curves=curves,
        settings=_settings(study.config),
        config=json.dumps(study.config, indent=1, ensure_ascii=False),
        study_file=_study_file(study.config),
        folder=str(study.folder),
        versions=_versions(study),
        date=time.strftime("%Y-%m-%d"),
        warnings=[_sentence(warning) for warning in study.warnings],
        notes=notes,
        gaps=gaps.gap_rows(study),
        gallery=_gallery(study, analysis, rows, score, images, reporter, notes, pictures),
    )
    return attrs.evolve(content, findings=findings.sentences(content, len(study.images)))


def _quality(
    score: str | None,
    rows: Sequence[ReportRow],
    names: Sequence[str],
    scales: Mapping[str, Scale],
) -> str:
    """Return the main score, which may be given in any case."""
    complete = list(dict.fromkeys(name for row in rows if not row.baseline for name in row.scores))
    if not complete:
        raise PrefixcapError(
            "no cell of the study has a score for all of its seeds: run `prefixcap bench` with its "
            "--out again, and --metrics such as cider"
        )
    if score is None:
        return main_score(complete, scales) or complete[0]
    name = {name.lower(): name for name in names}.get(score.lower())
    if name is None:
        raise PrefixcapError(f"--score {score}: no cell was scored by it{nearest(score, complete)}")
    if name not in complete:
        raise PrefixcapError(
            f"--score {score}: no cell has it for all of its seeds{nearest(score, complete)}"
        )
    return name


def _diversity(names: Sequence[str], quality: str, scales: Mapping[str, Scale]) -> str | None:
    known = ranked(names, scales, lambda scale: scale.diversity_rank)
    return quality if quality in known else next(iter(known), None)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}".rstrip(".") + "."


def _gaps(study: SavedStudy) -> list[str]:
    """Return sentences about what is missing from a study."""
    notes = []
    if not study.complete:
        notes.append("The study is not finished: only finished cells are shown.")
    if study.skipped:
        shown = ", ".join(study.skipped[:3])
        count = len(study.skipped)
        verb = "was" if count == 1 else "were"
        notes.append(
            f"{counted(count, 'image')} could not be read and {verb} skipped, such as {shown}."
        )
    return notes


def _analyze(study: SavedStudy, reporter: Reporter, notes: list[str]) -> Analysis:
    with reporter.task("comparing cells", len(study.cells), "cells") as task:
        try:
            analysis = analyze(study)
        except PrefixcapError as error:
            notes.append(f"There are no intervals and no comparisons: {error}.")
            analysis = compute(study.rows, study.baselines, {}, scales=scales_of(study))
        task.update(len(study.cells))
    return analysis


def _pairs(
    analysis: Analysis, rows: Sequence[ReportRow], score: str, correction: str
) -> Mapping[tuple[str, str], Difference]:
    return analysis.differences(score, correction, [row.id for row in rows])


def _gallery(
    study: SavedStudy,
    analysis: Analysis,
    rows: Sequence[ReportRow],
    score: str,
    images: int,
    reporter: Reporter,
    notes: list[str],
    pictures: bool,
) -> Gallery | None:
    if not images:
        return None
    order = report_rows.contrasting_cells(analysis, rows, score)
    best = report_rows.best_cells(analysis, study.rows, score, GALLERY)
    names = report_rows.cell_names(analysis, study.rows, rows, {*best, *order})
    if len(names) < len(study.cells):
        notes.append(f"The captions are those of {len(names)} of {len(study.cells):,} cells.")
    shown = min(images, len(study.images))
    with reporter.task("reading images", shown, "images") as task:
        return gallery.collect(study, names, order, images, task.update, pictures=pictures)


def _dataset(data: Mapping[str, Any]) -> str:
    path = data.get("path")
    return Path(str(path)).name if path else str(data["name"])


def _versions(study: SavedStudy) -> dict[str, str]:
    """Return the versions that the study ran with, and this one of prefixcap if it differs."""
    here = runtime.versions()
    saved = {name: str(version) for name, version in study.config.get("versions", {}).items()}
    current = here["prefixcap"]
    ran = saved.get("prefixcap", current)
    differs = {} if ran == current else {"prefixcap of the study": ran}
    return {**here, **saved, "prefixcap": current, **differs}


def _study_file(config: Mapping[str, Any]) -> str:
    """Return a study's config as a study file for `bench` (TOML); "" if a plugin is missing."""
    try:
        study = Study.from_json(config, default_registry())
        return "\n".join(options.to_toml(options.from_study(study)))
    except PrefixcapError:
        return ""


def _settings(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings of a study, by the names that the report shows."""

    def names(key: str) -> str:
        return ", ".join(each["name"] for each in config[key])

    limit, sources = config.get("limit"), config.get("train_on", ())
    texts = (
        {"trained on": ", ".join(sources), "bridge": names("bridges")} if TEXTS in sources else {}
    )
    return {
        "data set": _describe(config["dataset"]),
        "images": "all" if limit is None else f"the first {limit} of every split",
        # a study from before an axis existed has none of it
        **{key: names(plural) for key, plural in COMPONENTS.items() if plural in config},
        **texts,
        "prefix length": ", ".join(map(str, config["prefix_lengths"])),
        "seed": ", ".join(map(str, config["seeds"])),
        "training": ", ".join(f"{k} {v}" for k, v in config["training"].items() if v is not None),
        "longest caption": f"{config['max_new_tokens']} tokens",
        "precision": f"{config['dtype']} on {config['device']}",
    }


def _describe(data: Mapping[str, Any]) -> str:
    rest = ", ".join(f"{key} {value}" for key, value in data.items() if key != "name")
    return f"{data['name']} ({rest})" if rest else str(data["name"])
