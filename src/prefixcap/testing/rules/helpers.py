"""What the rules of several kinds share: nearness, digests and random states."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, cast

import numpy as np
import torch
from torch import Tensor

from prefixcap.testing.case import Case
from prefixcap.testing.rules.rule import require


class Digested(Protocol):
    """A component that has a digest."""

    def digest(self) -> str:
        """Returns the digest."""


def apart(ours: Tensor, theirs: Tensor) -> float:
    """Returns how far apart two tensors of one shape are at most.

    Differences are in units of the largest number in `theirs`, or of 1 where that is smaller:
    float32 rounds large numbers more coarsely.
    """
    if not theirs.numel():
        return 0.0
    scale = max(1.0, theirs.float().abs().max().item())
    return (ours.float() - theirs.float()).abs().max().item() / scale


def near(ours: float, theirs: float, tolerance: float = 1e-6) -> bool:
    """Says whether two numbers are equal but for rounding; a NaN is near another one."""
    both_nan = math.isnan(ours) and math.isnan(theirs)
    return both_nan or math.isclose(ours, theirs, rel_tol=tolerance, abs_tol=tolerance)


def same_digest(case: Case) -> None:
    """Requires that the component's digest is a text, and that of another build too."""
    one, two = (cast(Digested, made).digest() for made in (case.built(), case.build()))
    require(isinstance(one, str), f"the digest is {one!r}, not a text")
    require(bool(one) and one == two, f"the digests of two builds are {one!r} and {two!r}")


@contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """Sets torch's global random state, and puts it back afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def random_states() -> dict[str, object]:
    """Returns the global random states by library, to be compared."""
    _, key, position, *_ = np.random.get_state()
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": (np.asarray(key).tobytes(), position),
        "Python": random.getstate(),
    }


@contextmanager
def random_states_kept() -> Iterator[None]:
    """Puts the global random states back afterwards."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])


def seed_all(seed: int) -> None:
    """Sets the global random states of torch, numpy and Python."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
