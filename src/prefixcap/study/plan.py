"""What a study would compute, and what is there already."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefixcap.runtime import device_named
from prefixcap.study import captions, data, models, scoring
from prefixcap.study.grid import Study
from prefixcap.study.progress import Silent
from prefixcap.study.runner import cell_folder, cell_key, check_folder, model_key, scores_key
from prefixcap.study.store import read_json

KINDS = ("images to encode", "models to train", "images to caption", "cells to score")


def plan(study: Study, folder: Path) -> dict[str, Any]:
    """Counts what is missing of a study; nothing is computed or written.

    Args:
        study: the study.
        folder: where it is kept.

    Returns:
        `run`; `missing` and `all`, counts of images to encode, models to train, images to caption
        and cells to score; `seconds`, estimated from what the folder has measured (None where it
        has measured nothing); and `lines` that say the same to people.

    Raises:
        PrefixcapError: something in the study or its data is wrong.
    """
    device = device_named(study.device)
    check_folder(folder)
    loaded = data.load(study)
    missing, total = dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, 0)
    for encoder_config in study.encoders:
        features = data.Features(
            folder=folder / "features",
            config=encoder_config,
            encoder=encoder_config.build(device),
            dataset=loaded.dataset,
            skip_unreadable=study.skip_unreadable,
            reporter=Silent(),
        )
        for split, examples in zip(
            loaded.splits, (loaded.train, loaded.val, loaded.test), strict=True
        ):
            missing[KINDS[0]] += features.missing(split, examples)
            total[KINDS[0]] += len(examples)
        train, val, test = map(features.known_readable, (loaded.train, loaded.val, loaded.test))
        training_key, test_key = (
            data.training_key(features, train, val),
            data.test_key(features, test),
        )
        ids = [example.image.id for example in test]
        for lm_config in study.lms:
            lm_key = models.lm_key(lm_config.build(device, study.dtype))
            for model in study.models(encoder_config, lm_config):
                key = model_key(study, model, lm_key, training_key)
                total[KINDS[1]] += 1
                missing[KINDS[1]] += not models.is_trained(models.folder(folder, model, key), key)
                for decoder in study.decoders:
                    cell = cell_key(study, key, decoder, device, test_key)
                    place = cell_folder(folder, model, decoder, cell)
                    total[KINDS[2]] += len(ids)
                    total[KINDS[3]] += 1
                    missing[KINDS[2]] += captions.missing(place, cell, ids)
                    scored = scores_key(cell, test)
                    missing[KINDS[3]] += bool(scoring.missing(place, scored, study.metrics))
    seconds = estimate(folder, missing)
    lines = [f"{what}: {missing[what]} of {total[what]}" for what in KINDS]
    if not any(missing.values()):
        lines.append("everything is there")
    elif seconds is None:
        lines.append("time: not known before something of this study has been measured")
    else:
        lines.append(f"time: about {seconds:.0f} s by what this study has measured so far")
    return {
        "run": str(folder),
        "missing": missing,
        "all": total,
        "seconds": seconds,
        "lines": lines,
    }


def estimate(folder: Path, missing: dict[str, int]) -> float | None:
    """Estimates the time of training and captioning from what a study has measured.

    Args:
        folder: the study's folder.
        missing: what `plan` counts.

    Returns:
        Seconds, or None where trainings or captions are missing and none was measured.
    """
    trainings = [
        models.about(path.parent)["training_seconds"]
        for path in (folder / "models").glob("*/key.json")
    ]
    cells = [read_json(path) or {} for path in (folder / "cells").glob(f"*/{captions.CELL}")]
    rates = [cell["captions_per_second"] for cell in cells if cell.get("captions_per_second")]
    seconds = 0.0
    for count, times in (
        (missing[KINDS[1]], trainings),
        (missing[KINDS[2]], [1 / rate for rate in rates]),
    ):
        if count and not times:
            return None
        seconds += count * sum(times) / len(times) if count else 0.0
    return seconds
