"""Training: a mapper learns to write prefixes that a language model continues as captions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefixcap.training.config import TrainingConfig

if TYPE_CHECKING:
    from prefixcap.training.loop import Trained, Trainer, train

__all__ = ["Trained", "Trainer", "TrainingConfig", "train"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from prefixcap.training import loop

    return getattr(loop, name)
