"""Models of a study: each trained once, kept as a folder that `Captioner.load` reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefixcap.captioning import checkpoint as runs
from prefixcap.interfaces.language_model import LanguageModel
from prefixcap.plugin import specs
from prefixcap.study.artifacts.folder import KEY, StudyFolder
from prefixcap.study.definition.study import Model
from prefixcap.util.files import read_json

if TYPE_CHECKING:
    pass

PROBE = "A black dog runs, and two children in red watch it."


def lm_key(lm: LanguageModel) -> str:
    """Returns a digest of a language model's weights, its vocabulary and how it splits text."""
    probe = None if lm.tokenizer is None else lm.tokenizer.encode(PROBE)
    return specs.digest(lm.digest(), probe)


def folder(study_folder: Path, model: Model, key: str) -> Path:
    """Returns where a study's model is kept."""
    return StudyFolder(study_folder).models / f"{model.name}-{key[:8]}"


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
        "best_epoch": history.get("best_epoch"),
    }
