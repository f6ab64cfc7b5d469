"""What a launcher such as `accelerate launch` or torchrun tells a process that it started."""

from __future__ import annotations

import atexit
import os
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from datetime import timedelta
from threading import Thread
from typing import TypeVar

from prefixcap.errors import PrefixcapError, PrefixcapWarning, describe
from prefixcap.training.processes import Processes
from prefixcap.util.process.streams import c_output_on_stderr

T = TypeVar("T")
PATIENCE = timedelta(days=1)
"""How long a process waits for the others, such as for the main one that scores captions.

A process that ended closes its connections, which the others notice at once.
"""
_OTHERS = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
}


def launched() -> tuple[int, int]:
    """Return this process's number and how many a launcher started; 0 and 1 without one."""
    try:
        number, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    except (KeyError, ValueError):
        return 0, 1
    return (number, count) if count > 1 else (0, 1)


def is_main() -> bool:
    """Return whether this is the process that prints: the only one, or the first of several."""
    return launched()[0] == 0


def end_launched(status: int) -> None:
    """End this process at once if a launcher started it with others.

    The threads of Gloo may outlive the last common work, and abort a Python interpreter that shuts
    down (https://github.com/pytorch/pytorch/pull/179291); the launcher would take the training for
    failed then.
    """
    if launched()[1] > 1:
        atexit._run_exitfuncs()
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def refuse_launcher() -> None:
    """Raise a `PrefixcapError` if a launcher has started several processes of a study."""
    _, count = launched()
    if count > 1:
        raise PrefixcapError(
            f"a launcher has started bench {count} times, but only train divides its work so: "
            "start bench itself several times with the same --out, and they share the study"
        )


def join(device: str) -> Processes:
    """Join the processes that a launcher started; without one, this process is alone.

    Nothing is imported in that case. A process on GPUs gets one of its own.

    Args:
        device: "cpu" or "cuda".

    Raises:
        PrefixcapError: If accelerate is not installed, the device is of another kind, a process
            would have no GPU, the launcher was told to do what this training does not, or the
            processes cannot reach each other.
    """
    number, count = launched()
    if count == 1:
        _warn_if_alone()
        return Processes(device=device)
    _check_settings(device)
    import torch

    try:
        from accelerate import PartialState
    except ImportError as error:
        raise PrefixcapError(
            f"training in {count} processes needs accelerate: pip install 'prefixcap[accelerate]'"
        ) from error
    if device == "cuda":
        _check_gpus(torch.cuda.device_count())
    try:
        with c_output_on_stderr():  # Gloo of older torch says that it is connected
            state = _interruptibly(lambda: PartialState(cpu=device == "cpu", timeout=PATIENCE))
    except (RuntimeError, ValueError) as error:
        raise PrefixcapError(
            f"process {number} cannot reach the other {count - 1} that the launcher started: "
            f"{describe(error)}"
        ) from error
    if device == "cuda":
        device = str(state.device)
        torch.cuda.set_device(device)  # of this thread
    return Processes(number=state.process_index, count=state.num_processes, device=device)


def _interruptibly(work: Callable[[], T]) -> T:
    """Run work that waits outside of Python, which would notice neither Ctrl-C nor SIGTERM."""
    result: Future[T] = Future()

    def run() -> None:
        try:
            result.set_result(work())
        except BaseException as error:
            result.set_exception(error)

    Thread(target=run, daemon=True).start()
    return result.result()


def _warn_if_alone() -> None:
    """Warn if several processes were asked for on processors: accelerate starts one then."""
    on_cpu = os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true"
    if on_cpu and "MASTER_ADDR" in os.environ and "WORLD_SIZE" not in os.environ:
        warnings.warn(
            "accelerate launch --cpu starts a single process: write --multi_gpu instead, which "
            "starts several, on processors too",
            PrefixcapWarning,
            stacklevel=2,
        )


def _check_settings(device: str) -> None:
    """Raise an error if the training would not do what the launcher or the user asked for."""
    if device not in ("cpu", "cuda"):
        raise PrefixcapError(
            f"several processes train on the devices cpu and cuda, a GPU each, not on {device!r}"
        )
    for variable, name in _OTHERS.items():
        if os.environ.get(variable, "").lower() == "true":
            raise PrefixcapError(
                f"the launcher was told to use {name}, which prefixcap does not support: launch "
                "with --multi_gpu, or with torchrun"
            )
    precision = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if precision != "no":
        named = "float16" if precision == "fp16" else "bfloat16"
        raise PrefixcapError(
            f"the launcher was told to use the mixed precision {precision}: launch with "
            f"--mixed_precision no, and write --training precision={named}"
        )


def _check_gpus(gpus: int) -> None:
    local = int(os.environ.get("LOCAL_RANK", 0))
    if local >= gpus:
        raise PrefixcapError(
            f"process {local} of this machine has no GPU, as there are {gpus}: start one process "
            "for each GPU, or use --device cpu"
        )
