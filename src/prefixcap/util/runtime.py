"""Answer what the machine can do, and tune its C library."""

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

DTYPES = ("float32", "bfloat16", "float16")
# of mallopt(3)
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


def tune_allocator() -> bool:
    """Lets the C library keep what is freed, for the whole process, where it is GNU's.

    It returns large pieces to the system as soon as they are free. A step that takes as many again
    then waits for fresh pages, which at 1,280 rows of GPT-2 small costs a fifth of its time. The
    price is that the process stays as large as it once was. The command line calls this; in a
    script it is yours to choose.

    Returns:
        Whether the C library could be told.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    return bool(library.mallopt(_MMAP_MAX, 0) and library.mallopt(_TRIM_THRESHOLD, 2**31 - 1))


def dtype_named(name: str) -> torch.dtype:
    """Returns torch's dtype of that name.

    Raises:
        PrefixcapError: it is none of `DTYPES`.
    """
    import torch

    if name not in DTYPES:
        raise PrefixcapError(f"unknown dtype {name!r}{nearest(name, DTYPES)}")
    dtype: torch.dtype = getattr(torch, name)
    return dtype


@cache
def dtype_slowdown(name: str) -> float:
    """Measures how many times as long as float32's this processor's matrix products take.

    Processors without instructions for bfloat16 or float16 compute them one number at a time.

    Args:
        name: one of `DTYPES`.

    Returns:
        The ratio of the shortest of a few measurements each; a tenth of a second is spent.
    """
    import time

    import torch

    times = []
    for dtype in (torch.float32, dtype_named(name)):
        rows, weights = torch.ones(64, 512, dtype=dtype), torch.ones(512, 512, dtype=dtype)
        taken = []
        for _ in range(3):
            start = time.perf_counter()
            rows @ weights
            taken.append(time.perf_counter() - start)
        times.append(min(taken))
    return times[1] / times[0]


def device_named(name: str) -> str:
    """Returns a usable torch device: `auto` is the GPU where there is one, else the CPU.

    Raises:
        PrefixcapError: torch does not know the device, or this machine does not have it.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise PrefixcapError(f"the device {name!r} cannot be used here: {reason}") from error
    return name


def cache_dir() -> Path:
    """Returns the folder for what is computed once and kept: `PREFIXCAP_CACHE`, else the usual one.

    The usual one is `prefixcap` in the folder where the operating system wants caches.
    """
    if chosen := os.environ.get("PREFIXCAP_CACHE"):
        return Path(chosen)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = str(Path.home() / "Library" / "Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "prefixcap"
