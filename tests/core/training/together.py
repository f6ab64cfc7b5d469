"""One of two processes that train together, as a launcher would start it."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import attrs
import torch
from core.training.world import gpt2, weights, world

from prefixcap.captioning.captioner import Captioner
from prefixcap.errors import PrefixcapError
from prefixcap.training.checkpoint import TrainingCheckpoint
from prefixcap.training.config import TrainingConfig
from prefixcap.training.launcher import join
from prefixcap.training.processes import Processes
from prefixcap.training.train import train
from prefixcap.util.process.interrupts import handled

CIDER = "cider:tokenizer=characters"
SETTINGS: dict[str, dict[str, Any]] = {
    "frozen": {},
    "full": {"tuning": "full", "weight_decay": 0.1},
    "usual epsilon": {"tuning": "full", "eps": 1e-8},
    "a last batch of one caption": {"tuning": "full", "batch_size": 68},  # of 69
    "parts": {"micro_batch_size": 3, "gradient_clip": 0.01},
    "grouped": {"group_captions": True, "schedule": "constant", "keep_by": CIDER},
    "ridge": {"start": "ridge", "gradient_checkpointing": True},
    "not trained": {"epochs": 0},
    "float16": {"tuning": "full", "precision": "float16"},
    "lora": {"tuning": "lora:dropout=0"},
}
RANDOM = {"tuning": "full", "feature_noise": 0.1, "dropout": 0.2}


@attrs.define
class WritesOnce(TrainingCheckpoint):
    """Writes after the fourth step only; may kill the process after the sixth."""

    kill: bool = False
    asked: int = 0

    def due(self, *, epoch_ended: bool = False) -> bool:
        self.asked += not epoch_ended
        if self.kill and self.asked == 6:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.asked == 4 and not epoch_ended


def model(processes: Processes | None = None, **settings: Any) -> Captioner:
    """Train on captions of several lengths, with a val split whose last batch is smaller."""
    features, captions = world()
    captions = [[*texts, texts[0] + " on grass"] for texts in captions][:-1]
    call = {k: settings.pop(k) for k in ("checkpoint", "progress") if k in settings}
    usual = {"epochs": 2, "batch_size": 8, "learning_rate": 1e-2, "lm_lr_scale": 1.0, "eps": 1e-4}
    return train(
        gpt2(dropout=settings.pop("dropout", 0.0)),
        "mlp",
        3,
        settings.pop("tuning", "frozen"),
        features[:-1],
        captions,
        config=TrainingConfig(**usual | settings),
        val_features=features.flip(0)[:7],
        val_captions=captions[:7],
        processes=processes,
        **call,
    )


def summary(trained: Captioner) -> dict[str, Any]:
    history = {k: v for k, v in trained.history.items() if k not in ("seconds", "memory")}
    return {"history": history, "weights": [weight.detach() for weight in weights(trained)]}


def work(part: str, number: int, port: int, folder: Path) -> None:
    """Do a part of the trainings and write what came of it."""
    set_place(number, port)
    torch.save(PARTS[part](join("cpu"), folder), folder / f"{part}-{number}.pt")


def set_place(number: int, port: int) -> None:
    """Set what a launcher would."""
    torch.set_num_threads(1)
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
    own = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    os.environ.update({name: str(value) for name, value in (place | own).items()})


def undisturbed(processes: Processes, folder: Path) -> dict[str, Any]:
    results = {name: summary(model(processes, **each)) for name, each in SETTINGS.items()}
    results["random"] = summary(model(processes, **RANDOM))
    model(processes, checkpoint=WritesOnce(folder / "full.ckpt"), **SETTINGS["full"])
    try:
        model(processes, learning_rate=1e30)
    except PrefixcapError as error:
        results["diverged"] = str(error)
    processes.wait()
    torch.distributed.destroy_process_group()
    return results


def killed(processes: Processes, folder: Path) -> str:
    """Return the error of the process that is left when the other one is killed."""
    checkpoint = WritesOnce(folder / "random.ckpt", kill=not processes.is_main)
    try:
        model(processes, checkpoint=checkpoint, **RANDOM)
    except PrefixcapError as error:
        return str(error)
    return "none"


def resumed(processes: Processes, folder: Path) -> dict[str, Any]:
    steps: list[int] = []
    result = model(
        processes,
        checkpoint=TrainingCheckpoint(folder / "random.ckpt"),
        progress=lambda done, *_: steps.append(done),
        **RANDOM,
    )
    processes.wait()
    torch.distributed.destroy_process_group()
    return {"steps": steps, **summary(result)}


def stopped(number: int, port: int, folder: Path) -> None:
    """Wait for a process that never comes, until a signal ends the waiting."""
    set_place(number, port)
    with handled(until_exit=False):
        try:
            (folder / "waits").touch()
            join("cpu")
        except KeyboardInterrupt:
            (folder / "stopped").touch()


PARTS = {"undisturbed": undisturbed, "killed": killed, "resumed": resumed}
