"""The configs of the trackers, without their libraries."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import ClassVar, Literal

import attrs
from typing_extensions import override

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.events import Tracker, TrackerConfig
from prefixcap_trackers.run_tracker import RunTracker


@attrs.frozen(kw_only=True)
class TensorBoard(TrackerConfig):
    """Event files of TensorBoard, a folder a model and a folder a cell.

    Attributes:
        folder: Where they are; by default the folder `tensorboard` of the run or study.
    """

    name: ClassVar[str] = "tensorboard"

    folder: Path | None = None

    @override
    def build(self, folder: Path) -> Tracker:
        _require("tensorboard", "tensorboard")
        from prefixcap_trackers.logs import TensorBoardLog

        place = folder / "tensorboard" if self.folder is None else self.folder.expanduser()
        return RunTracker(lambda name, settings: TensorBoardLog(place / name, settings))


@attrs.frozen(kw_only=True)
class WeightsAndBiases(TrackerConfig):
    """Runs of Weights & Biases, one a model and one a cell.

    Attributes:
        project: The project of the runs.
        entity: The user or team of the project; by default the one that is logged in.
        mode: "online", "offline", which writes files for `wandb sync`, or "disabled"; by default as
            the environment variable `WANDB_MODE` says.
    """

    name: ClassVar[str] = "wandb"

    project: str = "prefixcap"
    entity: str | None = None
    mode: Literal["online", "offline", "disabled"] | None = None

    @override
    def build(self, folder: Path) -> Tracker:
        _require("wandb", "wandb")
        from prefixcap_trackers.logs import WandbLog

        return RunTracker(
            lambda name, settings: WandbLog(attrs.asdict(self), folder, name, settings)
        )


@attrs.frozen(kw_only=True)
class Trackio(TrackerConfig):
    """Runs of Trackio, one a model and one a cell, in its folder on this machine.

    Attributes:
        project: The project of the runs.
    """

    name: ClassVar[str] = "trackio"

    project: str = "prefixcap"

    @override
    def build(self, folder: Path) -> Tracker:
        _require("trackio", "trackio")
        from prefixcap_trackers.logs import TrackioLog

        return RunTracker(lambda name, settings: TrackioLog(self.project, folder, name, settings))


def _require(module: str, extra: str) -> None:
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:  # a folder of that name, such as wandb's own files
        raise PrefixcapError(f"tracker {extra!r} needs {module}: pip install 'prefixcap[{extra}]'")
