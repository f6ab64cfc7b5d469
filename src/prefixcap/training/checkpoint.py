"""Where a training stands, in one file: a killed training goes on, and ends the same."""

from __future__ import annotations

import io
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch

from prefixcap.errors import PrefixcapError
from prefixcap.util import files

FORMAT = 1
SHARE = 0.01


@attrs.define
class TrainingCheckpoint:
    """A file that a training's state is written to, at the end of epochs and now and then between.

    Whoever trains removes it once the model is kept. It is written under another name and renamed,
    so it is whole or not there.

    Attributes:
        path: the file.
        every: the seconds after which the state is written inside an epoch.
        share: the largest part of the time that may go into writing; large models are therefore
            written less often.
        key: what is trained, set by the training; the state of another one is not used.
    """

    path: Path
    every: float = 60.0
    share: float = SHARE
    key: str = ""
    _last: float = attrs.field(factory=lambda: time.monotonic(), init=False)
    _cost: float = attrs.field(default=0.0, init=False)

    def due(self, *, epoch_ended: bool = False) -> bool:
        """Says whether it is time to write."""
        passed = time.monotonic() - self._last
        return passed * self.share >= self._cost and (epoch_ended or passed >= self.every)

    def write(self, state: dict[str, Any]) -> None:
        """Writes tensors, numbers and texts, in dictionaries and lists.

        Raises:
            PrefixcapError: the file cannot be written.
        """
        begin = time.monotonic()
        content = io.BytesIO()
        torch.save({"format": FORMAT, "key": self.key, "state": state}, content)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            files.atomic_write(self.path, content.getvalue())
        except OSError as error:
            raise PrefixcapError(f"{self.path} cannot be written: {error.strerror}") from error
        self._last = time.monotonic()
        self._cost = self._last - begin

    def read(self) -> dict[str, Any] | None:
        """Reads what `write` wrote; None where there is no state of this training.

        Raises:
            PrefixcapError: the file is broken.
        """
        try:
            found = torch.load(self.path, map_location="cpu", weights_only=True)
            mine = (found["format"], found["key"]) == (FORMAT, self.key)
            return dict(found["state"]) if mine else None
        except FileNotFoundError:
            return None
        except Exception as error:  # pickle, zip files and torch each have errors of their own
            reason = str(error).partition("\n")[0]
            raise PrefixcapError(
                f"{self.path} is broken ({reason}): delete it to train anew"
            ) from error

    def remove(self) -> None:
        """Removes the file."""
        self.path.unlink(missing_ok=True)


@contextmanager
def own_randomness(seed: int, device: torch.device) -> Iterator[None]:
    """Seeds the global random states of torch, numpy and Python, and gives them back at the end."""
    before = random.getstate(), np.random.get_state()
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        # `torch.manual_seed` would seed every GPU
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])


def random_state(device: torch.device) -> dict[str, Any]:
    """Returns the global random states as tensors, numbers and texts."""
    name, keys, *rest = np.random.get_state()
    return {
        "torch": torch.random.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "numpy": [str(name), torch.from_numpy(np.array(keys, np.int64)), *map(float, rest)],
        "python": list(random.getstate()[1]),
        "python_next": random.getstate()[2],
    }


def set_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Sets the global random states to what `random_state` returned."""
    torch.random.set_rng_state(state["torch"])
    if device.type == "cuda" and state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"], device)
    name, keys, at, has, value = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), int(at), int(has), value))
    random.setstate((3, tuple(state["python"]), state["python_next"]))
