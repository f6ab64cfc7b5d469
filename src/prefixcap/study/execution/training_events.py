"""`TrainingEvents`: tells listeners and the reporter how a training goes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import attrs

from prefixcap.interfaces.events import (
    TrainingEnded,
    TrainingEpoch,
    TrainingStarted,
    TrainingStep,
)
from prefixcap.plugin import specs
from prefixcap.study.artifacts.folder import StudyJob
from prefixcap.study.artifacts.keys import PlannedModel
from prefixcap.training import epochs
from prefixcap.util.progress import ProgressTask

EVERY = 1.0
"""The least seconds between the events of two steps."""


@attrs.define
class TrainingEvents:
    """Sends the events of the training of one model."""

    job: StudyJob
    planned: PlannedModel
    _last_step: float = attrs.field(default=-EVERY, init=False)
    _steps_seen: int = attrs.field(default=0, init=False)

    @property
    def _place(self) -> dict[str, Any]:
        return {"folder": self.job.files.path, "training": self.planned.model.name}

    def started(self) -> None:
        """Tell the settings of the training."""
        model = self.planned.model
        parts = ("encoder", "lm", "tuning", "bridge", "mapper", "prompt")
        settings: dict[str, Any] = {
            part: specs.to_spec(getattr(model, part)) for part in parts if getattr(model, part)
        }
        settings |= {"prefix_length": model.prefix_length, "seed": model.seed}
        settings["training"] = self.job.study.training.to_json()
        self.job.events.send(TrainingStarted(**self._place, settings=settings))

    def step(self, task: ProgressTask, done: int, total: int, info: Mapping[str, Any]) -> None:
        """Show a step, and send it if the last one that was sent is a while ago."""
        if (
            not self._steps_seen and done > 1
        ):  # a resumed training; its first step's time is unknown
            task.resume(done)
        self._steps_seen = done
        losses = [f"{k} {info[k]:.3f}" for k in ("loss", "val_loss") if k in info]
        task.update(done, total, note=f"epoch {info['epoch']}, {', '.join(losses)}")
        now = time.monotonic()
        if now - self._last_step >= EVERY or done == total:
            self._last_step = now
            event = TrainingStep(
                **self._place, step=done, steps=total, epoch=info["epoch"], loss=info["loss"]
            )
            self.job.events.send(event)

    def epoch(self, history: Mapping[str, Any]) -> None:
        """Show and send the last epoch."""
        first, *samples = epochs.lines(history)
        self.job.reporter.detail("\n".join([f"{self.planned.model.name}, {first}", *samples]))
        *_, row = epochs.rows(history)
        self.job.events.send(
            TrainingEpoch(
                **self._place,
                step=row["steps"],
                epoch=row["epoch"],
                values={name: value for name, value in row.items() if isinstance(value, float)},
                captions=history["samples"][-1] if history["samples"] else {},
            )
        )

    def ended(self, values: Mapping[str, Any], error: str = "") -> None:
        """Tell the end of the training."""
        self.job.events.send(TrainingEnded(**self._place, values=values, error=error))
