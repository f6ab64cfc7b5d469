"""This machine and process: devices, dtypes, cache folder, memory allocator, versions."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from prefixcap.errors import PrefixcapError, nearest

if TYPE_CHECKING:
    import torch

DEVICES = ("cpu", "cuda", "mps")
DTYPES = ("float32", "bfloat16", "float16")
# parameters of mallopt(3)
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


def tune_allocator() -> bool:
    """Let glibc reuse freed memory instead of returning it to the system.

    By default, glibc returns large blocks as soon as they are freed, and the next decoding step
    waits for new pages: a fifth of its time at 1,280 rows of GPT-2 small. In exchange, the process
    never shrinks. The shell calls this; a script may. Return False if the C library is not glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    return bool(library.mallopt(_MMAP_MAX, 0) and library.mallopt(_TRIM_THRESHOLD, 2**31 - 1))


def dtype_named(name: str) -> torch.dtype:
    """Return the torch dtype with a name.

    Raises:
        PrefixcapError: If the name is not in `DTYPES`.
    """
    import torch

    if name not in DTYPES:
        raise PrefixcapError(f"unknown dtype {name!r}{nearest(name, DTYPES)}")
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def dtype_of(module: torch.nn.Module) -> str:
    """Return the name of the dtype of a module's parameters, such as "float32"."""
    return str(next(module.parameters()).dtype).removeprefix("torch.")


@cache
def dtype_slowdown(name: str) -> float:
    """Measure how much slower this processor's matrix products are than in float32.

    Processors without instructions for bfloat16 or float16 compute them one number at a time.
    The result is the ratio of the shortest of three measurements each: a tenth of a second.
    """
    import time

    import torch

    def seconds(dtype: torch.dtype) -> float:
        rows, weights = torch.ones(64, 512, dtype=dtype), torch.ones(512, 512, dtype=dtype)
        start = time.perf_counter()
        rows @ weights
        return time.perf_counter() - start

    usual, other = (
        min(seconds(dtype) for _ in range(3)) for dtype in (torch.float32, dtype_named(name))
    )
    return other / usual


def device_named(name: str) -> str:
    """Return a usable torch device: `auto` is the GPU if there is one, otherwise the CPU.

    Raises:
        PrefixcapError: If torch does not know the device, or this machine does not have it.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        if name.partition(":")[0] not in DEVICES:
            hint = nearest(name, ("auto", *DEVICES))
            raise PrefixcapError(f"the device {name!r} cannot be used here{hint}") from error
        reason = str(error).splitlines()[0]
        raise PrefixcapError(f"the device {name!r} cannot be used here: {reason}") from error
    return name


def usable_cores() -> int:
    """Return the number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cache_dir() -> Path:
    """Return `$PREFIXCAP_CACHE`, or the folder `prefixcap` in the operating system's cache."""
    if chosen := os.environ.get("PREFIXCAP_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = str(Path.home() / "Library" / "Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "prefixcap"


def versions() -> dict[str, str]:
    """Return the versions of the distributions that results may depend on."""
    return {name: version_of(name) for name in ("prefixcap", "torch", "transformers")}


def version_of(distribution: str) -> str:
    """Return the version of an installed distribution, or "unknown"."""
    # imported here, because most commands do not need it
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"
