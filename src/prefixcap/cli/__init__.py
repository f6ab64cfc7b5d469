"""The shell: `prefixcap bench`, `train`, `caption`, `eval` and what says what there is."""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status.

    Args:
        argv: the words after `prefixcap`; those of this process unless given.
    """
    from prefixcap.cli.app import run

    return run(argv)
