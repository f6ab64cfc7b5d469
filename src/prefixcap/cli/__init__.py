"""The shell: the command `prefixcap`."""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command `prefixcap` with words, by default this process's; return its exit status."""
    from prefixcap.util.interrupts import handled

    with handled(until_exit=argv is None) as interrupts:
        try:
            from prefixcap.cli.app import run  # imports a lot, which can be interrupted too

            return run(argv, interrupts)
        except KeyboardInterrupt:
            import sys

            print(f"prefixcap: {interrupts.sentence}", file=sys.stderr)
            return interrupts.status
