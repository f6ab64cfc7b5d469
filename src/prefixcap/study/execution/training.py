"""TODO."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefixcap.interfaces.language_model import LanguageModel
from prefixcap.study.artifacts.folder import KEY, TRAINING
from prefixcap.study.artifacts.locks import locked
from prefixcap.study.artifacts.models import is_trained
from prefixcap.study.definition.study import Model, Study
from prefixcap.study.execution.data import TrainingData
from prefixcap.util.files import write_json
from prefixcap.util.progress import Reporter

if TYPE_CHECKING:
    from prefixcap.captioning.captioner import Captioner


def train(
    folder: Path,
    key: str,
    model: Model,
    study: Study,
    lm: LanguageModel,
    encoder_digest: str,
    data: TrainingData,
    reporter: Reporter,
    what: str,
) -> tuple[Captioner | None, int]:
    """Trains a model and saves it, unless it is there.

    Args:
        folder: the model's folder.
        key: a digest of everything that makes the model.
        model: what to train.
        study: how to train it.
        lm: the language model.
        encoder_digest: the encoder's digest.
        data: what to train on.
        reporter: who is told.
        what: how the work is called.

    Returns:
        The captioner where it was trained now, and how many trainings that were (0 or 1).
    """
    from prefixcap.training.checkpoint import TrainingCheckpoint
    from prefixcap.training.train import train as fit

    with locked(folder):
        if is_trained(folder, key):
            (folder / TRAINING).unlink(missing_ok=True)
            return None, 0
        checkpoint = TrainingCheckpoint(folder / TRAINING)
        with reporter.task(what, 1, "steps") as task:
            went_on = False

            def progress(done: int, total: int, info: Mapping[str, Any]) -> None:
                nonlocal went_on
                if not went_on and done > 1:
                    task.resume(done)  # nobody timed the step that this process began with
                went_on = True
                losses = [f"{k} {info[k]:.3f}" for k in ("loss", "val_loss") if k in info]
                task.update(done, total, note=f"epoch {info['epoch']}, {', '.join(losses)}")

            trained = fit(
                lm,
                model.mapper,
                model.prefix_length,
                model.tuning,
                data.features,
                [example.references for example in data.examples],
                config=study.training,
                seed=model.seed,
                val_features=data.val_features,
                val_captions=(
                    None
                    if data.val_features is None
                    else [example.references for example in data.val_examples]
                ),
                progress=progress,
                checkpoint=checkpoint,
            )
        captioner = trained.captioner(
            lm_config=model.lm, encoder_config=model.encoder, encoder_digest=encoder_digest
        )
        captioner.save(folder)
        write_json(folder / KEY, {"key": key})
        checkpoint.remove()
        return captioner, 1
