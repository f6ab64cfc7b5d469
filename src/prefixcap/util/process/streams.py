"""Standard streams that are closed, full or no longer read."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO, cast

from typing_extensions import override


class ClosedOutput(io.TextIOBase):
    """Stands for a standard output that was closed when the process started."""

    @override
    def writable(self) -> bool:
        return True

    @override
    def write(self, text: str) -> int:
        raise OSError(errno.EBADF, "it is closed", "standard output")


def replace_closed_streams() -> None:
    """Open the null device in place of standard streams that are closed.

    Otherwise the next file that is opened would take their numbers, and receive what C libraries
    and child processes print.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            with suppress(OSError):  # the lowest free number is this one
                os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = cast(TextIO, ClosedOutput())
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123  (until the process ends)


def drop_unwritable() -> None:
    """Drop output that cannot be written, as the interpreter would report it again at its end."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


@contextmanager
def c_output_on_stderr() -> Iterator[None]:
    """Send what C libraries print to standard output to standard error."""
    sys.stdout.flush()
    out = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(out, 1)
        os.close(out)
