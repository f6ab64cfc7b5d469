"""Reserve standard output for a command's result."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_stdout() -> Iterator[None]:
    """Redirect what libraries print to standard error, so that `--json` prints one object."""
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        # clip-anytorch imports it; the user cannot change that
        warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
        yield
