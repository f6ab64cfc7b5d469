"""The shell: the command `prefixcap`."""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command `prefixcap` with words, by default this process's; return its exit status."""
    from prefixcap.cli.app import run

    return run(argv)
