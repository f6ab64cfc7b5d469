"""Requests that do not fit into memory: a sentence that says what to lower."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from core.engine.models import made, prefixes
from torch import Tensor

import prefixcap
from prefixcap import PrefixcapError
from prefixcap.engine.tree_session import TreeSession
from prefixcap.interfaces.session import SessionOptions
from prefixcap.testing.table_lm import TableLM
from prefixcap.util import memory

MILLIONS = 10**7


@pytest.mark.parametrize(
    "decoder",
    [
        f"beam:num_beams={MILLIONS}",
        f"diverse-beam:num_beams={MILLIONS}",
        f"constrained:num_beams={MILLIONS},force_words=a",
        f"clipcap-beam:num_beams={MILLIONS}",
        f"stochastic-beam:n={MILLIONS}",
        f"sample:n={MILLIONS}",
        f"best-of:samples={MILLIONS}",
        f"mbr:samples={MILLIONS}",
        f"mirostat:n={MILLIONS}",
        f"guidance:decoder=beam:num_beams={MILLIONS}",
    ],
)
def test_a_decoder_that_cannot_fit_is_refused_at_once(
    decoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda device: 2**28)
    sentence = r"there is not enough memory for 10000000 (beams|samples) .* GiB are needed, and 0.2"
    with pytest.raises(PrefixcapError, match=f"{sentence}.*: lower the decoder's number of beams"):
        prefixcap.decode(TableLM(), torch.zeros(3, 2, 4), decoder, max_new_tokens=9)


def test_a_cache_that_cannot_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda device: 2**28)
    lm = prefixcap.from_transformers(made("gpt2"))
    session = lm.start(prefixes(2), SessionOptions(rows_per_image=10**6))
    assert isinstance(session, TreeSession)
    with pytest.raises(PrefixcapError, match="for the keys and values of 2 images with 8000016 c"):
        session.admit()


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes."),
        RuntimeError("std::bad_alloc"),
    ],
)
def test_an_allocation_that_fails_is_a_sentence(error: Exception) -> None:
    class Hungry(TableLM):
        def start(self, prefix: Tensor, options: SessionOptions) -> Any:
            raise error

    with pytest.raises(PrefixcapError, match="memory to decode 2 images: lower the decoder's"):
        prefixcap.decode(Hungry(), torch.zeros(2, 2, 4), "greedy")


def test_real_allocations_that_fail_are_recognized() -> None:
    for request in (
        lambda: torch.empty(2**46, dtype=torch.float64),
        lambda: np.empty(2**46),
        lambda: bytearray(2**46),
    ):
        with pytest.raises((RuntimeError, MemoryError)) as caught:
            request()
        assert memory.out_of_memory(caught.value)
    assert not memory.out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(memory, "_GROUP", tmp_path)
    (tmp_path / "memory.current").write_text("900\n")
    (tmp_path / "memory.stat").write_text("anon 500\nactive_file 100\ninactive_file 200\n")
    return tmp_path


def test_the_limit_of_a_container_counts(group: Path) -> None:
    (group / "memory.max").write_text("max\n")
    machine = memory.available_memory()
    assert machine is None or machine > 2**20
    (group / "memory.max").write_text("1000\n")
    assert memory.available_memory() == 400
    assert memory.available_memory(torch.device("meta")) is None


# in a process of its own, as other tests leave memory behind that is given back at any moment
MEASURED = """
import torch
from prefixcap.util.memory import PeakMemory
torch.zeros(2**25).add_(1)  # taken and given back before
measured = PeakMemory(torch.device("cpu"))
kept = torch.ones(2**22)  # 16 MiB
print(measured.mib())
del kept
torch.zeros(2**24).add_(1)  # 64 MiB
print(measured.mib(), PeakMemory(torch.device("meta")).mib())
"""


def test_the_most_memory_of_some_work_is_measured() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURED], capture_output=True, text=True, check=True
    )
    before, after, unknown = done.stdout.split()
    assert 14 < float(before) < 40
    assert 60 < float(after) < 100
    assert unknown == "None"


def test_without_linux_no_memory_is_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(memory, "_PROCESS", tmp_path / "none")
    assert memory.PeakMemory(torch.device("cpu")).mib() is None
