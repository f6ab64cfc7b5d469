from __future__ import annotations

import subprocess
import sys

import pytest

from prefixcap import __version__

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


def test_help_loads_commands_only() -> None:
    code = (
        "import sys; from prefixcap.cli import main; main(['--help']); "
        "ours = [name for name in sys.modules if 'prefixcap' in name]; "
        "sys.exit(any('configs' in name or name.endswith('.config') for name in ours))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_listing_stays_light() -> None:
    code = (
        "import sys; from prefixcap.cli import main; main(['list']); "
        "print(len(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # start-up time depends on imports; unlike seconds, their number is the same everywhere
    assert int(done.stderr.split()[-1]) < 700


def test_one_process_imports_nothing_for_several() -> None:
    code = (
        "import sys; from prefixcap.training.launcher import join; join('cpu'); "
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_module_is_the_command() -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "prefixcap", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert run("--version").stdout == f"prefixcap {__version__}\n"
    failed = run("trian")
    assert (failed.returncode, failed.stderr[:30]) == (2, "prefixcap: there is no command")


def test_the_guard_can_fail() -> None:
    assert heavy_after(["list"], before="import numpy") == ["numpy"]
