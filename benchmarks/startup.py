"""Measure the start-up of the shell: `prefixcap --help` and `prefixcap list`, best of ten.

    python benchmarks/startup.py

For comparison, it measures `import torch`, which neither command needs (a test checks that). Run it
on an idle machine.
"""

from __future__ import annotations

import subprocess
import sys
import time

MAIN = "import sys; from prefixcap.cli import main; sys.exit(main({words!r}))"


def seconds(code: str, repeats: int = 10) -> float:
    """Return the shortest wall time, in seconds, of a new Python process that runs `code`."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        best = min(best, time.perf_counter() - start)
    return best


if __name__ == "__main__":
    torch = seconds("import torch", 3)
    print(f"import torch       {torch:.2f} s")
    for word in ("--help", "list"):
        took = seconds(MAIN.format(words=[word]))
        print(f"prefixcap {word:8} {took:.2f} s, {torch / took:.1f} times faster")
