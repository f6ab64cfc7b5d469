"""What rules of several kinds share: comparisons, digests and random states."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from prefixcap.errors import listed
from prefixcap.testing.case import Case
from prefixcap.testing.rules.rule import require, rule


def max_difference(actual: Tensor, expected: Tensor) -> float:
    """Return the largest difference between two tensors of one shape.

    If a magnitude in `expected` exceeds 1, it is relative to the largest one, because float32
    rounds large numbers more coarsely.
    """
    if not expected.numel():
        return 0.0
    scale = max(1.0, expected.float().abs().max().item())
    return (actual.float() - expected.float()).abs().max().item() / scale


def is_close(actual: float, expected: float, tolerance: float = 1e-6) -> bool:
    """Return whether two numbers are equal up to rounding; NaN equals NaN."""
    both_nan = math.isnan(actual) and math.isnan(expected)
    return both_nan or math.isclose(actual, expected, rel_tol=tolerance, abs_tol=tolerance)


SIZES = (1, 2, 5)
"""The sizes that components with a size are made with."""


def require_growth(counts: Sequence[int]) -> None:
    """Require that the number of parameters grows with the size."""
    grows = all(one < two for one, two in pairwise(counts))
    numbers = listed(map(str, counts))
    require(grows, f"with the sizes {listed(map(str, SIZES))} it has {numbers} parameters")


@rule("digest")
def digest(case: Case) -> None:
    """A component that is built again has the same digest."""
    one, two = case.built().digest(), case.build().digest()
    require(isinstance(one, str), f"the digest is {one!r}, not a text")
    require(bool(one) and one == two, f"the digests of two builds are {one!r} and {two!r}")


@contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """Set torch's global random state, and restore it afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def random_states() -> dict[str, object]:
    """Return the global random states by library, in a form that can be compared."""
    _, key, position, *_ = np.random.get_state()
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": (np.asarray(key).tobytes(), position),
        "Python": random.getstate(),
    }


@contextmanager
def preserve_random_states() -> Iterator[None]:
    """Restore the global random states of torch, numpy and Python afterwards."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])


def seed_all(seed: int) -> None:
    """Seed the global random states of torch, numpy and Python."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
