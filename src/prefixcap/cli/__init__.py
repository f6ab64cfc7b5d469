"""The shell: the command `prefixcap`."""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command `prefixcap` with words, by default this process's; return its exit status."""
    status = 130
    try:
        # imports can be interrupted too, and some of them take seconds
        from prefixcap.util.process.interrupts import handled

        with handled(until_exit=argv is None) as interrupts:
            try:
                from prefixcap.cli.app import run

                return run(argv, interrupts)
            finally:
                status = interrupts.status
    except KeyboardInterrupt:
        import sys

        print("prefixcap: stopped", file=sys.stderr)
        return status
