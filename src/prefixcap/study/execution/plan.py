"""What a study would compute, and what is there already."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from prefixcap.study.artifacts import captions, models, scores
from prefixcap.study.artifacts import features as features_module
from prefixcap.study.artifacts import keys as keys_module
from prefixcap.study.artifacts.folder import StudyFolder
from prefixcap.study.artifacts.keys import InputDigests, in_order, places
from prefixcap.study.definition.study import Study
from prefixcap.study.execution import checks, data, work
from prefixcap.study.execution.estimate import Timings, Work
from prefixcap.util.progress import duration
from prefixcap.util.runtime import device_named

KINDS = ("images to encode", "models to train", "images to caption", "cells to score")


def plan(study: Study, folder: Path) -> dict[str, Any]:
    """Counts what is missing of a study; nothing is computed or written.

    Args:
        study: the study.
        folder: where it is kept.

    Returns:
        `run`; `warnings` of the data and the metrics; `missing` and `all`, counts of images to
        encode, models to train, images to caption and cells to score; `seconds`, estimated from
        what the folder, or studies beside it, have measured (None where nothing), by kind of work
        in `seconds_by_work`; and `lines` that say the same to people.

    Raises:
        PrefixcapError: something in the study or its data is wrong.
    """
    device = device_named(study.device)
    StudyFolder(folder).find_config()
    loaded = data.load(study)
    warnings = [text for text in (loaded.warning,) if text] + checks.check(study, loaded.test)
    missing, total = dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, 0)
    left: list[Work] = []
    encoded = 0
    for encoder_config in study.encoders:
        features = features_module.Features.of_study(
            study, folder, encoder_config, encoder_config.build(device), loaded.dataset
        )
        for split, examples in zip(
            loaded.splits, (loaded.train, loaded.val, loaded.test), strict=True
        ):
            missing[KINDS[0]] += features.missing(split, examples)
            total[KINDS[0]] += len(examples)
        train, val, test = map(features.known_readable, (loaded.train, loaded.val, loaded.test))
        keys = keys_module.training_key(features, train, val), keys_module.test_key(features, test)
        ids = [example.image.id for example in test]
        left.append(work.encoding(study, encoder_config, missing[KINDS[0]] - encoded))
        encoded = missing[KINDS[0]]
        for lm_config in study.lms:
            made = InputDigests(
                training=keys[0],
                test=keys[1],
                references=keys_module.references_key(test),
                lm=models.lm_key(lm_config.build(device, study.dtype)),
            )
            found = places(study, folder, device, encoder_config, lm_config, made)
            left += work.left(study, train, found, ids)
            cells = in_order(found)
            total[KINDS[1]] += len(found)
            missing[KINDS[1]] += sum(not place.is_trained for place in found)
            total[KINDS[2]] += len(ids) * len(cells)
            total[KINDS[3]] += len(cells)
            for cell in cells:
                missing[KINDS[2]] += captions.missing(cell.folder, cell.key, ids)
                lacking = scores.missing(cell.folder, cell.scores_key, study.metrics)
                missing[KINDS[3]] += bool(lacking)
    measured = Timings(folder, beside=True)
    times = measured.seconds([piece for piece in left if piece.units])
    known = {kind: seconds for kind, seconds in times.items() if seconds is not None}
    lines = [f"{what}: {missing[what]} of {total[what]}" for what in KINDS]
    return {
        "run": str(folder),
        "warnings": warnings,
        "missing": missing,
        "all": total,
        "seconds": sum(known.values()) if known or not times else None,
        "seconds_by_work": times,
        "lines": [*warnings, *lines, *_time(times, measured.lent)],
    }


def _time(times: Mapping[str, float | None], lent: Collection[str]) -> list[str]:
    """Says how long what is missing will take."""
    known = {kind: seconds for kind, seconds in times.items() if seconds is not None}
    if not times:
        return ["everything is there"]
    if not known:
        return ["time: not known before something of this study, or of one beside it, was measured"]
    parts = ", ".join(f"{kind} {duration(seconds)}" for kind, seconds in known.items())
    others = [kind for kind in known if kind in lent]
    whose = "this study has measured"
    if others:
        whose = f"studies beside it have measured of {', '.join(others)}"
        whose += "" if len(others) == len(known) else ", and it of the rest"
    lines = [f"time: about {duration(sum(known.values()))} ({parts}), by what {whose}"]
    unknown = [kind for kind in times if kind not in known]
    if unknown:
        lines.append(f"nothing has been measured yet of {', '.join(unknown)}, which comes on top")
    return lines
