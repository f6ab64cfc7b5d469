"""What a study would compute, what exists already, and how long the rest would take."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from prefixcap.interfaces.language_model import LanguageModel, LMConfig
from prefixcap.study.artifacts import captions, scores, timings
from prefixcap.study.artifacts.folder import StudyJob
from prefixcap.study.definition.study import Study
from prefixcap.study.execution import checks, data, encoding, grid, trial
from prefixcap.study.execution.grid import ModelGroup
from prefixcap.util.progress import duration

TEXTS = "texts to encode"
COUNTS = ("images to encode", TEXTS, "models to train", "images to caption", "cells to score")


def plan(study: Study, folder: Path) -> dict[str, Any]:
    """Count what is missing of a study, without computing or writing anything.

    Returns:
        `run`; `warnings` about the data and the metrics; `missing` and `all`, each of `COUNTS`
        (texts only if they are trained on); `seconds`, estimated from measurements in the folder
        or in studies beside it (None without any), and `seconds_by_work`, by kind of work; and
        `lines`, the same as text.

    Raises:
        PrefixcapError: If something in the study or its data is wrong.
    """
    job = StudyJob(study, folder)
    job.files.find_config()
    splits = data.load(study)
    warnings = [text for text in (splits.warning, splits.unused) if text]
    trial.build_components(study, job.reporter)
    warnings += checks.check_metrics(study, splits.test)
    opened = encoding.open_features(job, splits)
    images = [encoding.known_images(features, splits) for features in opened]

    def language_model(config: LMConfig) -> LanguageModel:
        built = config.build(job.device, study.dtype)
        checks.check_positions(study, built)
        return built

    groups = grid.resolve(job, images, build_lm=language_model)
    warnings += dict.fromkeys(text for group in groups for text in group.warnings)
    examples = [example for split in splits.splits.values() for example in split]
    to_encode = sum(len(each.features.missing(examples)) for each in images)
    texts = [each.count_captions() for each in images]
    texts_to_encode, every_text = (sum(column) for column in zip(*texts, strict=True))
    cells = [(cell, group.images.ids) for group in groups for cell in group.cells]
    to_caption = sum(captions.count_missing(cell, ids) for cell, ids in cells)
    to_score = [
        len(scores.missing(cell.folder, cell.scores_key, study.metrics)) * len(ids)
        for cell, ids in cells
    ]
    untrained = [group for group in groups for model in group.models if not model.is_trained]
    missing = (to_encode, texts_to_encode, len(untrained), to_caption, sum(map(bool, to_score)))
    total = (
        len(images) * len(examples),
        every_text,
        sum(len(group.models) for group in groups),
        sum(len(ids) for _, ids in cells),
        len(cells),
    )
    steps = sum(_steps(study, group) for group in untrained)
    work = (to_encode, texts_to_encode, steps, to_caption, sum(to_score))
    units = dict(zip(timings.WORKS, work, strict=True))
    means, borrowed = timings.seconds_per_unit(job.files)
    seconds = {
        work: count * means[work] if work in means else None
        for work, count in units.items()
        if count
    }
    known = [each for each in seconds.values() if each is not None]
    counts = zip(COUNTS, missing, total, strict=True)
    shown = [each for each in counts if each[0] != TEXTS or each[2]]
    lines = [f"{label}: {a} of {b}" for label, a, b in shown]
    return {
        "run": str(folder),
        "warnings": warnings,
        "missing": {label: count for label, count, _ in shown},
        "all": {label: count for label, _, count in shown},
        "seconds": sum(known) if known or not seconds else None,
        "seconds_by_work": seconds,
        "lines": [*warnings, *lines, *_describe(seconds, borrowed)],
    }


def _steps(study: Study, group: ModelGroup) -> int:
    """Return the maximum number of steps of a model's training."""
    captions = sum(len(example.references) for example in group.images.train)
    used = min(captions, study.training.max_train_captions or captions)
    return math.ceil(used / study.training.batch_size) * study.training.epochs


def _describe(seconds: Mapping[str, float | None], borrowed: Collection[str]) -> list[str]:
    """Describe how long the missing work will take."""
    known = {work: each for work, each in seconds.items() if each is not None}
    if not seconds:
        return ["nothing is missing"]
    if not known:
        return ["time: unknown, as this study and those beside it have no measurements"]
    parts = ", ".join(f"{work} {duration(each)}" for work, each in known.items())
    source = "this study"
    if others := [work for work in known if work in borrowed]:
        source = f"studies beside it ({', '.join(others)})"
        source += "" if len(others) == len(known) else " and of this study (the rest)"
    lines = [f"time: about {duration(sum(known.values()))} ({parts}), by measurements of {source}"]
    unknown = [work for work in seconds if work not in known]
    if unknown:
        lines.append(f"in addition, {', '.join(unknown)}, for which there are no measurements")
    return lines
