"""Two processes that share each batch, compared with one."""

from __future__ import annotations

import multiprocessing
import re
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from core.training.together import RANDOM, SETTINGS, model, stopped, summary, work

from prefixcap.errors import PrefixcapError, PrefixcapWarning
from prefixcap.training import launcher
from prefixcap.training.batches import CaptionBatch, TokenizedCaption
from prefixcap.training.checkpoint import TrainingCheckpoint
from prefixcap.training.processes import Processes

PRELOADED = [
    "prefixcap.training.train",
    "prefixcap.engine.causal_lm",
    "transformers.models.gpt2.modeling_gpt2",
    "accelerate",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("together")


def context() -> multiprocessing.context.ForkServerContext:
    """Return what starts processes that have imported everything already."""
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(PRELOADED)
    return made


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def start_both(part: str, folder: Path) -> list[int | None]:
    """Let two processes do a part of the work; return their exit codes."""
    port = free_port()
    processes = [context().Process(target=work, args=(part, n, port, folder)) for n in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    return [process.exitcode for process in processes]


@pytest.fixture(scope="module")
def both(folder: Path) -> list[dict[str, Any]]:
    """What each of two undisturbed processes ended with."""
    assert start_both("undisturbed", folder) == [0, 0]
    return [torch.load(folder / f"undisturbed-{n}.pt") for n in range(2)]


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    pairs = zip(one["weights"], other["weights"], strict=True)
    return one["history"] == other["history"] and all(torch.equal(a, b) for a, b in pairs)


def assert_close(
    one: dict[str, Any], other: dict[str, Any], losses: float = 1e-5, weights: float = 1e-5
) -> None:
    for name in ("loss", "train_loss", "val_loss"):
        assert one["history"][name] == pytest.approx(other["history"][name], abs=losses)
    for a, b in zip(one["weights"], other["weights"], strict=True):
        assert torch.allclose(a, b, rtol=0, atol=weights)


@pytest.mark.parametrize("name", SETTINGS)
def test_two_processes_take_the_steps_of_one(both: list[dict[str, Any]], name: str) -> None:
    main, other = (each[name] for each in both)
    assert same(main, other)
    alone = summary(model(**SETTINGS[name]))
    # float16 rounds the products of each half of a batch
    losses = 2e-3 if name == "float16" else 1e-5
    # and rounding errors of a gradient that is zero become steps if epsilon is as small as usual
    assert_close(main, alone, losses, 2e-2 if name == "usual epsilon" else losses)
    assert main["history"]["val_scores"] == alone["history"]["val_scores"]
    assert len(main["history"]["loss"]) == len(alone["history"]["loss"])
    counted, expected = main["history"]["flops"], alone["history"]["flops"]
    assert counted == pytest.approx(expected, rel=0.3)  # as other captions are padded together


def test_a_killed_training_ends_with_the_same_bits(
    both: list[dict[str, Any]], folder: Path
) -> None:
    assert start_both("killed", folder) == [0, -signal.SIGKILL]
    sentence = torch.load(folder / "killed-0.pt")
    assert sentence.startswith("process 0 of the training lost another one")
    assert "start all 2 again to continue" in sentence
    assert start_both("resumed", folder) == [0, 0]
    main, other = (torch.load(folder / f"resumed-{n}.pt") for n in range(2))
    assert same(main, both[0]["random"])
    assert same(other, both[0]["random"])
    assert (main["steps"][0], other["steps"]) == (5, [])
    with pytest.raises(AssertionError):  # dropout and noise draw other numbers in one process
        assert_close(main, summary(model(**RANDOM)), 1e-3, 1e-3)


def test_one_process_resumes_the_training_of_two(both: list[dict[str, Any]], folder: Path) -> None:
    steps: list[int] = []
    resumed = model(
        checkpoint=TrainingCheckpoint(folder / "full.ckpt", report=pytest.fail),
        progress=lambda done, *_: steps.append(done),
        **SETTINGS["full"],
    )
    assert steps[0] == 5
    assert_close(summary(resumed), both[0]["full"])


def test_both_see_that_a_training_diverges(both: list[dict[str, Any]]) -> None:
    assert both[0]["diverged"] == both[1]["diverged"]
    assert "lower the training's learning_rate (1e+30)" in both[0]["diverged"]


def test_a_process_that_waits_for_others_can_be_stopped(folder: Path) -> None:
    process = context().Process(target=stopped, args=(0, free_port(), folder))
    process.start()
    deadline = time.monotonic() + 120
    while not (folder / "waits").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1)
    process.terminate()
    process.join(20)  # a launcher's patience is 30 seconds
    code = process.exitcode
    process.kill()
    assert code == 0
    assert (folder / "stopped").exists()


def test_shares_of_a_batch_are_the_batch() -> None:
    captions = [TokenizedCaption(n // 2, (n, *range(n))) for n in range(5)]
    whole = CaptionBatch.of(captions)
    for count in (1, 2, 3, 7):
        shares = [whole.share(number, count) for number in range(count)]
        sizes = [len(share.ids) for share in shares]
        assert (sum(sizes), max(sizes) - min(sizes) <= 1) == (5, True)
        rows = torch.cat([share.rows[share.images] for share in shares])
        assert torch.equal(rows, whole.rows[whole.images])
        assert torch.equal(torch.cat([share.ids for share in shares]), whole.ids)
        assert sum(share.tokens for share in shares) == whole.tokens
        assert not any(list(share.parts(None)) for share in shares if not share.tokens)


@pytest.mark.parametrize(
    ("variables", "device", "sentence"),
    [
        ({}, "mps", "not on 'mps'"),
        ({"ACCELERATE_USE_FSDP": "true"}, "cpu", "told to use FSDP"),
        ({"ACCELERATE_MIXED_PRECISION": "bf16"}, "cpu", "--training precision=bfloat16"),
        ({"LOCAL_RANK": "64"}, "cuda", "process 64 of this machine has no GPU"),
    ],
)
def test_what_a_launcher_cannot_ask_for(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], device: str, sentence: str
) -> None:
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", **variables}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(PrefixcapError, match=sentence):
        launcher.join(device)


def test_several_processes_need_accelerate(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(PrefixcapError, match=re.escape("pip install 'prefixcap[accelerate]'")):
        launcher.join("cpu")


def test_one_process_of_a_launcher_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ACCELERATE_USE_CPU": "True", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.warns(PrefixcapWarning, match="starts a single process"):
        assert launcher.join("cpu") == Processes()
    for name, value in {"RANK": "0", "WORLD_SIZE": "1"}.items():
        monkeypatch.setenv(name, value)
    assert launcher.join("cpu") == Processes()
    monkeypatch.setenv("WORLD_SIZE", "many")
    assert launcher.launched() == (0, 1)
