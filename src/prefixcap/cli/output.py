"""Keeps standard output for what a command answers."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_stdout() -> Iterator[None]:
    """Sends what libraries print to standard error, so that `--json` prints one object."""
    with contextlib.redirect_stdout(sys.stderr):
        yield
