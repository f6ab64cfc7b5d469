"""Trains the one model of a study of one cell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefixcap import runs
from prefixcap.errors import PrefixcapError
from prefixcap.runtime import device_named
from prefixcap.study import data, guards, models
from prefixcap.study.grid import Study
from prefixcap.study.layout import model_key
from prefixcap.study.progress import Reporter


def train_one(study: Study, folder: Path, reporter: Reporter) -> dict[str, Any]:
    """Trains the first model of a study into a folder of its own.

    Args:
        study: what to train.
        folder: where the model goes; its features are kept there too, so a killed training does
            not encode again.
        reporter: who is told what is being done.

    Returns:
        What tables say of the model.

    Raises:
        PrefixcapError: the folder holds another model or a study, or something does not fit.
    """
    device = device_named(study.device)
    if slow := guards.slow_dtype(device, study.dtype):
        reporter.say(slow)
    loaded = data.load(study)
    encoder = study.encoders[0].build(device)
    lm = study.lms[0].build(device, study.dtype)
    features = data.Features.of_study(
        study, folder, study.encoders[0], encoder, loaded.dataset, reporter
    )
    (model,) = study.models(study.encoders[0], study.lms[0])
    lm_key = models.lm_key(lm)
    # a training that was killed while its model was saved has left its state, and no key
    saving = (folder / models.CHECKPOINT).exists() and not (folder / models.KEY).exists()
    if (folder / runs.CONFIG).exists() and not saving:
        readable = features.known_readable(loaded.train), features.known_readable(loaded.val)
        expected = model_key(study, model, lm_key, data.training_key(features, *readable))
        if not models.is_trained(folder, expected):
            raise PrefixcapError(f"{folder} holds another run: choose another --out")
    found, lost = data.training_data(features, loaded)
    key = model_key(study, model, lm_key, found.key)
    if lost:
        reporter.say(f"left out {len(lost)} images that could not be read: {', '.join(lost[:5])}")
    models.train(
        folder, key, model, study, lm, encoder.digest(), found, reporter, f"training {model.name}"
    )
    return models.about(folder)
