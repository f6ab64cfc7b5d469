from __future__ import annotations

import resource
import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "clip", "torchvision", "scipy", "PIL", "matplotlib", "numpy")
GUARD = """
import sys
{before}
from prefixcap.cli import main
status = main({words!r})
found = sorted(set({heavy!r}) & set(sys.modules))
print("HEAVY", *found)
sys.exit(status)
"""


def heavy_after(words: list[str], before: str = "") -> list[str]:
    code = GUARD.format(words=words, heavy=HEAVY, before=before)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()[1:]


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["list"],
        ["list", "decoder"],
        ["plugins"],
        ["show", "decoder", "beam"],
        ["bench", "--help"],
    ],
    ids=" ".join,
)
def test_answers_without_a_heavy_library(words: list[str]) -> None:
    assert heavy_after(words) == []


def test_the_guard_can_fail() -> None:
    assert heavy_after(["list"], before="import numpy") == ["numpy"]


@pytest.mark.parametrize("word", ["--help", "list"])
def test_answers_at_once(word: str) -> None:
    code = "import sys; from prefixcap.cli import main; sys.exit(main())"
    best = float("inf")
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code, word], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    # the processor's time, which is the clock's on an idle machine: other work does not add to it
    assert best < 0.5


def test_without_a_command_it_says_what_there_is() -> None:
    command = [sys.executable, "-c", "from prefixcap.cli import main; raise SystemExit(main())"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    for name in ("bench", "train", "caption", "eval", "plugins", "list", "show", "check"):
        assert f"  {name} " in done.stdout
