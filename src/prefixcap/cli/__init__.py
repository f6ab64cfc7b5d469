"""The shell: the command `prefixcap`."""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    Args:
        argv: The words after `prefixcap`; those of this process by default.
    """
    from prefixcap.cli.app import run

    return run(argv)
