"""Memory: what is available, what work takes, requests that cannot fit, failed allocations."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from prefixcap.errors import PrefixcapError, describe

if TYPE_CHECKING:
    import torch

FEWER_ROWS = (
    "lower the decoder's number of beams or samples, max_rows or max_new_tokens, or caption fewer "
    "images at once"
)
_SIGNS = (
    *("can't allocate memory", "Cannot allocate memory", "not enough memory"),
    *("Storage size calculation overflowed", "bad_alloc", "array is too big"),
)
_GROUP = Path("/sys/fs/cgroup")
_PROCESS = Path("/proc/self")
_GIB = 2.0**30


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error of Python, NumPy or torch says that an allocation failed."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = describe(error)
    return any(sign in text for sign in _SIGNS)


def require_memory(
    count: float, what: str, device: torch.device | None = None, cure: str = FEWER_ROWS
) -> None:
    """Refuse a request that needs more memory than there is.

    The system would end the process without a word once it touched the memory.

    Args:
        count: The number of bytes that the request needs at least.
        what: What needs them, such as "100000 beams".
        device: Where the memory is needed; by default the machine's own.
        cure: What to do about it.

    Raises:
        PrefixcapError: If less is available.
    """
    if count < _GIB / 4:  # not worth asking
        return
    free = available_memory(device)
    if free is not None and count > free:
        raise PrefixcapError(
            f"there is not enough memory for {what}: at least {count / _GIB:,.1f} GiB are needed, "
            f"and {free / _GIB:,.1f} GiB are available: {cure}"
        )


def available_memory(device: torch.device | None = None) -> int | None:
    """Return the bytes that may still be allocated; None if the system does not tell."""
    if device is not None and device.type == "cuda":
        import torch

        free, _ = torch.cuda.mem_get_info(device)
        # torch keeps freed memory for itself
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free + unused)
    if device is not None and device.type != "cpu":
        return None
    limits = [limit for limit in (_of_machine(), _of_group()) if limit is not None]
    return min(limits, default=None)


def _of_machine() -> int | None:
    """Return what Linux estimates to be available without swapping."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvail"))
    except (OSError, ValueError, StopIteration):
        return None


def _of_group() -> int | None:
    """Return what a container's limit (cgroup v2) leaves; caches of files can be dropped."""
    try:
        limit = (_GROUP / "memory.max").read_text(encoding="utf-8").strip()
        used = int((_GROUP / "memory.current").read_text(encoding="utf-8"))
        lines = (_GROUP / "memory.stat").read_text(encoding="utf-8").splitlines()
        cached = sum(
            int(v) for k, v in map(str.split, lines) if k in ("active_file", "inactive_file")
        )
        return None if limit == "max" else int(limit) - used + cached
    except (OSError, ValueError):
        return None


class PeakMemory:
    """Measures the most memory that work takes, beyond what was taken before.

    On a GPU these are torch's allocations; otherwise the process's memory, if Linux tells.
    """

    def __init__(self, device: torch.device) -> None:
        self._gpu = device if device.type == "cuda" else None
        if self._gpu is not None:
            import torch

            torch.cuda.reset_peak_memory_stats(self._gpu)
            self._before: int | None = torch.cuda.memory_allocated(self._gpu)
        else:
            self._before = _restart_peak() if device.type == "cpu" else None

    def mib(self) -> float | None:
        """Return the most memory so far in MiB; None if it is not known."""
        if self._gpu is not None:
            import torch

            peak: int | None = torch.cuda.max_memory_allocated(self._gpu)
        else:
            peak = _of_process("VmHWM")
        if self._before is None or peak is None:
            return None
        return round(max(0, peak - self._before) / 2**20, 1)


def _restart_peak() -> int | None:
    """Let Linux forget the process's peak, and return what it takes now."""
    import ctypes

    # Freed memory that the process keeps would count as taken before; others than Linux, and other
    # C libraries, do not have the function.
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    try:
        (_PROCESS / "clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return None
    return _of_process("VmRSS")


def _of_process(name: str) -> int | None:
    try:
        lines = (_PROCESS / "status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))
    except (OSError, ValueError, StopIteration):
        return None
