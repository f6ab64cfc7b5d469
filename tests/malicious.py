"""Files that write a marker when something in them is run, in the formats that people exchange."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, marker: Path, gadget: str = "open") -> None:
        self.marker = marker
        self.gadget = gadget

    def __reduce__(self) -> tuple[Any, ...]:
        path = str(self.marker)
        if self.gadget == "system":
            return os.system, (f"touch '{path}'",)
        if self.gadget == "exec":
            return exec, (f"open({path!r}, 'w')",)
        if self.gadget == "nested":  # a loader within torch that unpickles what it is given
            inner = io.BytesIO()
            torch.save(Payload(self.marker), inner)
            return torch.storage._load_from_bytes, (inner.getvalue(),)  # type: ignore[attr-defined]
        return open, (path, "w")


def _zip(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def _legacy(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def _npy(content: object) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([content], dtype=object), allow_pickle=True)
    return file.getvalue()


def _npz(content: object) -> bytes:
    file = io.BytesIO()
    np.savez(file, features=np.array([content], dtype=object))
    return file.getvalue()


PICKLES: dict[str, Callable[[Path], bytes]] = {
    "pickle": lambda marker: pickle.dumps({"a": Payload(marker)}, 2),
    "pickle alone": lambda marker: pickle.dumps(Payload(marker, "system")),
    "torch": lambda marker: _zip({"clip_project.model.0.weight": Payload(marker, "exec")}),
    "torch, nested": lambda marker: _zip([Payload(marker, "nested")]),
    "torch, legacy": lambda marker: _legacy({"visual.proj": Payload(marker)}),
    "npy": lambda marker: _npy(Payload(marker)),
    "npz": lambda marker: _npz(Payload(marker)),
}


class _Spy(torch.nn.Module):
    """Creates the file whose name is stored with it when it is loaded by `torch.jit.load`."""

    def __init__(self, marker: str) -> None:
        super().__init__()
        self.marker = marker
        self.made = torch.zeros(1)

    def forward(self) -> torch.Tensor:
        return self.made

    @torch.jit.export
    def __getstate__(self) -> tuple[str, bool]:
        return (self.marker, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]) -> None:
        self.marker = state[0]
        self.training = state[1]
        self.made = torch.from_file(self.marker, shared=True, size=1)


def save_torchscript(path: Path, marker: Path, module: torch.nn.Module | None = None) -> None:
    """Save a TorchScript archive with a module's weights, whose code creates the marker."""
    whole = torch.nn.Module() if module is None else module
    whole.spy = torch.jit.script(_Spy(str(marker)))
    whole.forward = lambda: whole.spy()  # type: ignore[method-assign, assignment, operator]
    try:
        traced = torch.jit.trace_module(whole, {"forward": ()}, check_trace=False)
        traced.save(str(path))
    finally:
        del whole.spy, whole.forward
