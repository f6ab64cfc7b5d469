"""The logs of the three libraries, which only this module imports."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from typing_extensions import override

from prefixcap_trackers.run_tracker import Log


class TensorBoardLog(Log):
    """An event file in a folder."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder))
        self._writer.add_text("settings", f"```\n{json.dumps(settings, indent=1)}\n```", 0)

    @override
    def numbers(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    @override
    def captions(self, captions: Mapping[str, str], step: int) -> None:
        for image, caption in captions.items():
            self._writer.add_text(f"captions/{image}", caption, step)
        self._writer.flush()

    @override
    def finish(self) -> None:
        self._writer.close()


class WandbLog(Log):
    """A run of Weights & Biases, with its files in the folder of the run or study.

    `place` has the arguments of `wandb.init` that say where runs are recorded.
    """

    def __init__(
        self, place: Mapping[str, Any], folder: Path, name: str, settings: Mapping[str, Any]
    ) -> None:
        import wandb

        folder.mkdir(parents=True, exist_ok=True)
        self._wandb: Any = wandb
        self._run: Any = wandb.init(
            **place,
            dir=str(folder),
            group=folder.resolve().name,
            name=name,
            config=dict(settings),
            reinit="create_new",
        )

    @override
    def numbers(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    @override
    def captions(self, captions: Mapping[str, str], step: int) -> None:
        table = self._wandb.Table(columns=["image", "caption"], data=list(captions.items()))
        self._run.log({"captions": table}, step=step)

    @override
    def finish(self) -> None:
        self._run.finish()


class TrackioLog(Log):
    """A run of Trackio, in its folder on this machine."""

    def __init__(self, project: str, folder: Path, name: str, settings: Mapping[str, Any]) -> None:
        import trackio

        self._trackio: Any = trackio
        self._run: Any = trackio.init(
            project, name=name, group=folder.resolve().name, config=dict(settings), embed=False
        )

    @override
    def numbers(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    @override
    def captions(self, captions: Mapping[str, str], step: int) -> None:
        from pandas import DataFrame

        rows = DataFrame(list(captions.items()), columns=["image", "caption"])
        self._run.log({"captions": self._trackio.Table(dataframe=rows)}, step=step)

    @override
    def finish(self) -> None:
        self._run.finish()
