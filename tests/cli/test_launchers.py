"""`prefixcap train` in two processes that `accelerate launch` starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_world import World
from safetensors.torch import load_file

from prefixcap.study.execution import training
from prefixcap.training.checkpoint import TrainingCheckpoint
from prefixcap.training.processes import Processes
from prefixcap.training.trainer import Trainer

Shell = Callable[..., tuple[int, str, str]]
LAUNCH = (
    *("accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"),
    *("--main_process_port", "0", "--mixed_precision", "no", "--dynamo_backend", "no"),
)


def test_two_processes_go_on_with_a_stopped_training(
    shell: Shell, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [
        *("train", *world.options, "--tuning", "frozen", "--epochs", "2", "--device", "cpu"),
        *("--training", "batch_size=9,eps=1e-4", "--json"),
    ]
    two, one = tmp_path / "two", tmp_path / "one"
    usual, count = Trainer.step, 0

    def step(*args: Any) -> float:
        nonlocal count
        count += 1
        if count == 10:
            raise KeyboardInterrupt
        return usual(*args)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", step)
        patch.setattr(TrainingCheckpoint, "due", lambda *_, **__: count == 9)
        assert shell(*words, "--out", two)[0] == 130
    done = subprocess.run(
        [sys.executable, "-m", *LAUNCH, "-m", "prefixcap", *words, "--out", str(two)],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)  # of the main process alone
    assert done.stderr.count("14/14 steps") == 1

    expected = json.loads(shell(*words, "--out", one)[1])
    assert answer["val_loss"] == pytest.approx(expected["val_loss"], abs=1e-5)
    weights, alone = (load_file(folder / "weights.safetensors") for folder in (two, one))
    assert all(torch.allclose(weights[k], alone[k], rtol=0, atol=1e-5) for k in alone)
    history, alone = (json.loads((f / "config.json").read_text())["history"] for f in (two, one))
    assert history["loss"] == pytest.approx(alone["loss"], abs=1e-5)
    assert {p.name for p in two.iterdir()} == {p.name for p in one.iterdir()}


def test_a_model_on_several_devices_is_for_one_process(
    shell: Shell, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = training.build

    def build(*args: Any) -> Any:
        made = usual(*args)
        made.module.hf_device_map = {"": "cpu"}
        return made

    monkeypatch.setattr(training, "build", build)
    monkeypatch.setattr(training, "join", lambda _: Processes(count=2))
    status, _, err = shell("train", *world.options, "--device", "cpu", "--out", tmp_path / "run")
    assert status == 2
    assert "device_map spreads the language model over the places of one process" in err
    assert "the launcher has started 2: train without it" in err


def test_bench_is_not_launched(shell: Shell, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    status, out, err = shell(*world.bench)
    assert (status, out) == (2, "")
    assert err.startswith("prefixcap: a launcher has started bench 2 times")
    assert "start bench itself several times with the same --out" in err
