"""Shared by the benchmarks: measuring time and memory, and the machine's name."""

from __future__ import annotations

import ctypes
import gc
import itertools
import platform
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import attrs
import torch
from torch import Tensor

from prefixcap.engine.linear import PackedLinear

CPU = torch.device("cpu")


@attrs.define
class Run:
    """The best run of one side."""

    seconds: float = float("inf")
    cpu: float = float("inf")
    memory: int = 0
    captions: list[list[tuple[int, ...]]] = attrs.field(factory=list)


class Allocated(ctypes.Structure):
    """The result of mallinfo2(3); the bytes in use are `uordblks` and `hblkhd`."""

    _fields_: ClassVar = [
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        )
    ]


def allocated() -> int:
    """Return the bytes in use, without memory that was freed but kept; 0 if unknown."""
    if platform.libc_ver()[0] != "glibc":
        return 0
    ask = getattr(ctypes.CDLL(None), "mallinfo2", None)  # glibc 2.33 or later
    if ask is None:
        return 0
    ask.restype = Allocated
    info = ask()
    return int(info.uordblks + info.hblkhd)


@contextmanager
def peak_memory(run: Run, device: torch.device = CPU) -> Iterator[None]:
    """Record the peak memory on the device above what was in use before."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield
        run.memory = max(run.memory, torch.cuda.max_memory_allocated(device) - before)
        return
    before = most = allocated()
    over = threading.Event()

    def watch() -> None:
        nonlocal most
        while not over.wait(0.005):
            most = max(most, allocated())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        run.memory = max(run.memory, most - before)


def timed(
    run: Run, call: Callable[[], list[list[tuple[int, ...]]]], device: torch.device = CPU
) -> None:
    """Call once, and record the time if it is the shortest."""
    with peak_memory(run, device):
        settle(device)
        wall, cpu = time.perf_counter(), time.process_time()
        run.captions = call()
        settle(device)
        run.seconds = min(run.seconds, time.perf_counter() - wall)
        run.cpu = min(run.cpu, time.process_time() - cpu)


def settle(device: torch.device) -> None:
    """Wait until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def processor(device: torch.device = CPU) -> str:
    """Return the name of the processor or GPU, if the system provides it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    known = Path("/proc/cpuinfo")
    lines = known.read_text().splitlines() if known.exists() else []
    names = [text.split(": ")[1] for text in lines if text.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def rate(
    calls: Sequence[Callable[[], object]], seconds: float, device: torch.device = CPU
) -> float:
    """Return the number of calls per second, called repeatedly for `seconds`."""
    turns, count = itertools.cycle(calls), 0
    together = 10 if device.type == "cuda" else 1  # a GPU queues work
    start = time.perf_counter()
    while (took := time.perf_counter() - start) < seconds:
        for call in itertools.islice(turns, together):
            call()
        settle(device)
        count += together
    return count / took


class Ceiling:
    """The rate of the model's own matrix products with the fastest kernel.

    A machine's speed may change within minutes. It is measured next to each row, as the mean of
    some hundred products; a single product may be faster.

    Args:
        model: The model whose products are measured.
        rows: The number of rows that are multiplied.
    """

    def __init__(self, model: Any, rows: int = 320) -> None:
        weight = model.lm_head.weight
        self._device = weight.device
        width = model.config.n_embd
        products: list[tuple[float, Callable[[], Tensor]]] = []
        for inner, outer in ((width, 4 * width), (4 * width, width), (width, len(weight))):
            w, x = torch.randn(outer, inner).to(weight), torch.randn(rows, inner).to(weight)
            for run in (PackedLinear(w), partial(torch.nn.functional.linear, weight=w)):
                products.append((2e-9 * rows * inner * outer, partial(run, x)))
        self._fastest = max(products, key=self._rate)

    def measure(self) -> float:
        """Return the current GFLOP/s."""
        return self._rate(self._fastest, 1.0)

    def _rate(self, product: tuple[float, Callable[[], Tensor]], seconds: float = 0.3) -> float:
        flop, run = product
        run()
        settle(self._device)
        return flop * rate([run], seconds, self._device)
