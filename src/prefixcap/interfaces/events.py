"""What happens in trainings and studies, as events, and trackers, which record them elsewhere."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import attrs


@attrs.frozen(kw_only=True)
class Event:
    """The base of events.

    Attributes:
        folder: The folder of the run (`train --out`) or of the study.
    """

    folder: Path


@attrs.frozen(kw_only=True)
class StudyStarted(Event):
    """A study begins, or goes on.

    Attributes:
        settings: The study as JSON data, as in its `config.json`.
    """

    settings: Mapping[str, Any]


@attrs.frozen(kw_only=True)
class TrainingStarted(Event):
    """The training of a model begins, or goes on.

    Attributes:
        training: The model's name, unique in its study.
        settings: Its components as specs, prefix length and seed, and the training's settings.
    """

    training: str
    settings: Mapping[str, Any]


@attrs.frozen(kw_only=True)
class TrainingStep(Event):
    """A training has taken a step; sent at most once a second, and for the last step.

    Attributes:
        training: The model's name.
        step: The number of the step, from 1.
        steps: The number of steps of all epochs.
        epoch: The number of the epoch, from 1.
        loss: The mean cross-entropy of the tokens of the step's batch.
    """

    training: str
    step: int
    steps: int
    epoch: int
    loss: float


@attrs.frozen(kw_only=True)
class TrainingEpoch(Event):
    """A training has finished an epoch.

    Attributes:
        training: The model's name.
        step: The number of steps so far.
        epoch: The number of the epoch, from 1.
        values: "learning_rate", "train_loss", "val_loss" and the scores of val captions, as far as
            there are such.
        captions: The sample captions of val images, by image.
    """

    training: str
    step: int
    epoch: int
    values: Mapping[str, float]
    captions: Mapping[str, str]


@attrs.frozen(kw_only=True)
class TrainingEnded(Event):
    """A training has ended and its model is saved, or it has diverged.

    Attributes:
        training: The model's name.
        values: The model's columns of a table, such as "training_seconds" and "val_loss".
        error: Why there is no model; "" if there is one.
    """

    training: str
    values: Mapping[str, Any]
    error: str = ""


@attrs.frozen(kw_only=True)
class CellScored(Event):
    """The captions of a model by one decoder have their scores; also if they had them before.

    Attributes:
        cell: The cell's name, unique in its study.
        settings: Its components, prefix length and seed.
        scores: The scores by name.
    """

    cell: str
    settings: Mapping[str, Any]
    scores: Mapping[str, float]


@attrs.frozen(kw_only=True)
class StudyEnded(Event):
    """All cells of a study have their scores.

    Attributes:
        cells: The number of cells.
    """

    cells: int


class Tracker(ABC):
    """Records events."""

    @abstractmethod
    def on_event(self, event: Event) -> None:
        """Record an event; kinds of events that are unknown are to be ignored."""

    @abstractmethod
    def close(self) -> None:
        """Write what is left; called once, also after an error."""


@attrs.frozen(kw_only=True)
class TrackerConfig(ABC):
    """The base of the configs of trackers, with settings as components have them.

    Attributes:
        name: The name in the shell.
    """

    name: ClassVar[str]

    @abstractmethod
    def build(self, folder: Path) -> Tracker:
        """Build the tracker of a run or study; the only place where its library is imported.

        Raises:
            PrefixcapError: If the library is not installed, or a setting does not fit.
        """
