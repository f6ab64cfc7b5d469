"""`RunTracker`: turns events into the logs of single runs, which every library has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from typing_extensions import override

from prefixcap.interfaces.events import (
    CellScored,
    Event,
    Tracker,
    TrainingEnded,
    TrainingEpoch,
    TrainingStarted,
    TrainingStep,
)


class Log(ABC):
    """The log of one run, opened when it is created."""

    @abstractmethod
    def numbers(self, values: Mapping[str, float], step: int) -> None:
        """Log numbers by name at a step."""

    @abstractmethod
    def captions(self, captions: Mapping[str, str], step: int) -> None:
        """Log captions by image at a step."""

    @abstractmethod
    def finish(self) -> None:
        """Write what is left, and end the run."""


class RunTracker(Tracker):
    """Logs each training as a run, and the scores of each cell as another.

    Args:
        start: Begins the log of a run, of a name and settings.
    """

    def __init__(self, start: Callable[[str, Mapping[str, Any]], Log]) -> None:
        self._start = start
        self._training: Log | None = None
        self._step = 0

    @override
    def on_event(self, event: Event) -> None:
        if isinstance(event, TrainingStarted):
            self._finish()
            self._training = self._start(event.training, event.settings)
        elif isinstance(event, CellScored):
            log = self._start(event.cell, event.settings)
            log.numbers(event.scores, 0)
            log.finish()
        elif self._training is not None:
            self._log(self._training, event)

    def _log(self, log: Log, event: Event) -> None:
        if isinstance(event, TrainingStep):
            self._step = event.step
            log.numbers({"loss": event.loss, "epoch": event.epoch}, event.step)
        elif isinstance(event, TrainingEpoch):
            self._step = event.step
            log.numbers(event.values, event.step)
            if event.captions:
                log.captions(event.captions, event.step)
        elif isinstance(event, TrainingEnded):
            numbers = {k: v for k, v in event.values.items() if isinstance(v, int | float)}
            log.numbers({f"final/{name}": value for name, value in numbers.items()}, self._step)
            self._finish()

    def _finish(self) -> None:
        if self._training is not None:
            log = self._training
            self._training = None
            log.finish()

    @override
    def close(self) -> None:
        self._finish()
