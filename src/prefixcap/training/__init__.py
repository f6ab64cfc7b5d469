"""Training: a mapper learns to write prefixes that a language model continues as captions."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from prefixcap.training.config import TrainingConfig

if TYPE_CHECKING:
    from prefixcap.training.checkpoint import Checkpoint
    from prefixcap.training.loop import Trained, train
    from prefixcap.training.step import Trainer

__all__ = ["Checkpoint", "Trained", "Trainer", "TrainingConfig", "train"]

_HOMES = {"Checkpoint": "checkpoint", "Trained": "loop", "Trainer": "step", "train": "loop"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"prefixcap.training.{_HOMES[name]}"), name)
