"""`TrainingCheckpoint`: the state of a training in one file, to resume it exactly.

The random states are part of it, so an interrupted training ends with the same weights.
"""

from __future__ import annotations

import io
import random
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch

from prefixcap.errors import PrefixcapError, PrefixcapWarning
from prefixcap.util import files
from prefixcap.util.weights import reason_of

HEAD = b"prefixcap training 2 "
"""The beginning of the file; the SHA-256 of what follows the first line ends that line."""
MAX_SHARE = 0.01
"""The maximum share of the training time that is spent writing."""


def _warn(text: str) -> None:
    warnings.warn(text, PrefixcapWarning, stacklevel=6)


@attrs.define
class TrainingCheckpoint:
    """The file of a training's state, written at the end of epochs and at intervals between.

    It is never incomplete: it is written under another name and renamed. It holds its SHA-256, and
    a state that was altered is not used. The caller removes it once the trained model is saved.

    Attributes:
        every: The seconds after which the state is written within an epoch.
        share: The maximum share of the time that is spent writing; large models are therefore
            written less often.
        report: Called with the reason if a state cannot be used; by default a warning.
        key: Identifies the training; set by `train`. The state of another training is not used.
    """

    path: Path
    every: float = 60.0
    share: float = MAX_SHARE
    report: Callable[[str], None] = _warn
    key: str = ""
    _last: float = attrs.field(factory=lambda: time.monotonic(), init=False)
    _cost: float = attrs.field(default=0.0, init=False)

    def due(self, *, epoch_ended: bool = False) -> bool:
        """Return whether it is time to write."""
        passed = time.monotonic() - self._last
        return passed * self.share >= self._cost and (epoch_ended or passed >= self.every)

    def write(self, state: dict[str, Any]) -> None:
        """Write a state of tensors, numbers and texts in dictionaries and lists.

        Raises:
            PrefixcapError: If the file cannot be written.
        """
        begin = time.monotonic()
        content = io.BytesIO()
        torch.save({"key": self.key, "state": state}, content)
        try:
            files.atomic_write(self.path, [_head(content.getbuffer()), content.getbuffer()])
        except OSError as error:
            raise PrefixcapError(f"{self.path} cannot be written: {error.strerror}") from error
        self._last = time.monotonic()
        self._cost = self._last - begin

    def read(self) -> dict[str, Any] | None:
        """Read the state that `write` wrote; None if there is none that can be used.

        Raises:
            PrefixcapError: If the file cannot be read.
        """
        content = files.read_bytes(self.path)
        if content is None:
            return None
        line = content.find(b"\n") + 1
        saved = memoryview(content)[line:]
        if content[:line] != _head(saved):
            return self._unused("was altered after it was written (its SHA-256 differs)")
        try:
            loaded = torch.load(io.BytesIO(saved), map_location="cpu", weights_only=True)
        except Exception as error:  # pickle, zip files and torch each have errors of their own
            return self._unused(f"cannot be read ({reason_of(error)})")
        if loaded["key"] != self.key:
            return self._unused("is the state of another training")
        return dict(loaded["state"])

    def _unused(self, reason: str) -> dict[str, Any] | None:
        self.report(f"{self.path} {reason}: this training starts from the beginning")
        return None

    def remove(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)


def _head(saved: memoryview) -> bytes:
    return HEAD + sha256(saved).hexdigest().encode() + b"\n"


@contextmanager
def own_randomness(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the global random states of torch, numpy and Python, and restore them afterwards."""
    before = random.getstate(), np.random.get_state()
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        seed_randomness(seed, device)
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])


def seed_randomness(seed: int, device: torch.device) -> None:
    """Seed the global random states of torch, numpy and Python."""
    # `torch.manual_seed` would seed every GPU.
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def random_state(device: torch.device) -> dict[str, Any]:
    """Return the global random states as tensors, numbers and texts."""
    name, keys, *rest = np.random.get_state()
    return {
        "torch": torch.random.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "numpy": [str(name), torch.from_numpy(np.array(keys, np.int64)), *map(float, rest)],
        "python": list(random.getstate()[1]),
        "python_next": random.getstate()[2],
    }


def set_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Set the global random states to a result of `random_state`."""
    torch.random.set_rng_state(state["torch"])
    if device.type == "cuda" and state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"], device)
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state(
        (name, keys.numpy().astype(np.uint32), int(position), int(has_gauss), cached)
    )
    random.setstate((3, tuple(state["python"]), state["python_next"]))
