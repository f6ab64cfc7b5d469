"""Trained models of a study, each in a folder that `Captioner.load` reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefixcap.captioning import checkpoint
from prefixcap.study.artifacts.folder import KEY, TRAINING
from prefixcap.util.files import read_json, write_json

if TYPE_CHECKING:
    from prefixcap.captioning.captioner import Captioner


def is_trained(folder: Path, key: str) -> bool:
    """Return whether a folder holds the complete model of a key."""
    return (read_json(folder / KEY) or {}).get("key") == key


def save(folder: Path, key: str, captioner: Captioner) -> None:
    """Save a trained model, its key last, so that a killed process leaves no incomplete model."""
    captioner.save(folder)
    write_json(folder / KEY, {"key": key})
    discard_training_state(folder)


def discard_training_state(folder: Path) -> None:
    """Delete the state from which a killed training would resume."""
    (folder / TRAINING).unlink(missing_ok=True)


def training_summary(folder: Path) -> dict[str, Any]:
    """Return a trained model's columns of a table: parameters, time, FLOPs and epochs."""
    config = checkpoint.read_config(folder)
    history = config["history"]
    return {
        "trained_parameters": config["trained_parameters"],
        "training_seconds": round(sum(history.get("seconds", [])), 3),
        "training_flops": history.get("flops"),
        "epochs": len(history.get("train_loss", [])) or None,
        "best_epoch": history.get("best_epoch"),
    }
