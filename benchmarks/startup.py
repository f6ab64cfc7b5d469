"""Measure the start-up of the shell: `prefixcap --help`, `prefixcap list`, and a first caption.

    python benchmarks/startup.py [--cold]

For comparison, it measures `import torch`, which neither of the first two needs (a test checks
that). The caption is that of a drawn scene, by a run trained here; nearly all of its time is
imports (torch, transformers). With `--cold`, the files of installed packages are dropped from
the page cache before each caption, as after a restart. Run it on an idle machine.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

MAIN = "import sys; from prefixcap.cli import main; sys.exit(main({words!r}))"
SCENE = (
    "import prefixcap, sys; test = prefixcap.Scenes().build().examples('test'); "
    "test[0].image.open().save(sys.argv[1])"
)
SMALL = ("--mapper", "linear", "--prefix-len", "4", "--epochs", "1", "--limit", "50")
CAPTIONS = 5


def seconds(code: str, *, cold: bool = False) -> float:
    """Return the wall time, in seconds, of a new Python process that runs `code`."""
    if cold:
        drop_files()
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    return time.perf_counter() - start


def drop_files() -> None:
    """Drop the files of installed packages from the page cache, except those in use elsewhere."""
    for path in Path(sysconfig.get_path("purelib")).rglob("*"):
        if path.suffix in (".py", ".pyc", ".so") and path.is_file():
            file = os.open(path, os.O_RDONLY)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(file)


def first_caption(folder: Path, *, cold: bool) -> float:
    """Return the median time of `prefixcap caption` for one image."""
    image, run = folder / "scene.png", folder / "run"
    subprocess.run([sys.executable, "-c", SCENE, str(image)], check=True)
    seconds(MAIN.format(words=["train", *SMALL, "--out", str(run)]))
    words = ["caption", str(image), "--run", str(run), "--decoder", "greedy"]
    return statistics.median(seconds(MAIN.format(words=words), cold=cold) for _ in range(CAPTIONS))


if __name__ == "__main__":
    torch = min(seconds("import torch") for _ in range(3))
    print(f"import torch       {torch:.2f} s")
    for word in ("--help", "list"):
        took = min(seconds(MAIN.format(words=[word])) for _ in range(10))
        print(f"prefixcap {word:8} {took:.2f} s, {torch / took:.1f} times faster")
    with tempfile.TemporaryDirectory() as temporary:
        cold = "--cold" in sys.argv
        took = first_caption(Path(temporary), cold=cold)
        print(f"prefixcap caption  {took:.2f} s, median of {CAPTIONS}{', cold' if cold else ''}")
