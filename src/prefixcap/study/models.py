"""Models of a study: each trained once, kept as a folder that `Captioner.load` reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefixcap import runs, specs
from prefixcap.kinds import LanguageModel
from prefixcap.study.data import TrainingData
from prefixcap.study.grid import Model, Study
from prefixcap.study.progress import Reporter
from prefixcap.study.store import locked, read_json, write_json

if TYPE_CHECKING:
    from prefixcap.captioner import Captioner

KEY = "key.json"
CHECKPOINT = "training.ckpt"
PROBE = "A black dog runs, and two children in red watch it."


def lm_key(lm: LanguageModel) -> str:
    """Returns a digest of a language model's weights, its vocabulary and how it splits text."""
    probe = None if lm.tokenizer is None else lm.tokenizer.encode(PROBE)
    return specs.digest(lm.digest(), probe)


def folder(study_folder: Path, model: Model, key: str) -> Path:
    """Returns where a study's model is kept."""
    return study_folder / "models" / f"{model.name}-{key[:8]}"


def is_trained(folder: Path, key: str) -> bool:
    """Says whether a folder holds the model of that key."""
    kept = read_json(folder / KEY)
    return kept is not None and kept.get("key") == key


def about(folder: Path) -> dict[str, Any]:
    """Returns what tables say of a trained model."""
    config = runs.read_config(folder)
    history = config["history"]
    return {
        "trained_parameters": config["trained_parameters"],
        "training_seconds": round(sum(history.get("seconds", [])), 3),
        "training_flops": history.get("flops"),
        "epochs": len(history.get("train_loss", [])) or None,
        "kept_epoch": history.get("kept_epoch"),
    }


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
    from prefixcap import training

    with locked(folder):
        if is_trained(folder, key):
            (folder / CHECKPOINT).unlink(missing_ok=True)
            return None, 0
        checkpoint = training.Checkpoint(folder / CHECKPOINT)
        with reporter.task(what, 1, "steps") as task:
            went_on = False

            def progress(done: int, total: int, info: Mapping[str, Any]) -> None:
                nonlocal went_on
                if not went_on and done > 1:
                    task.go_on(done)  # nobody timed the step that this process began with
                went_on = True
                losses = [f"{k} {info[k]:.3f}" for k in ("loss", "val_loss") if k in info]
                task.reach(done, total, note=f"epoch {info['epoch']}, {', '.join(losses)}")

            trained = training.train(
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
