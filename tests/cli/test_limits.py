"""A machine that refuses: full or closed outputs, limits on files, no temporary folder."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from prefixcap.cli.errors import MACHINE, sentence_of

Shell = Callable[..., tuple[int, str, str]]
PROGRAM = "import sys; sys.path[:0] = {path!r}; from prefixcap.cli import main; sys.exit(main())"


def run(redirection: str, *words: str) -> tuple[int, str, str]:
    """Run a command with a redirection of a POSIX shell."""
    program = PROGRAM.format(path=[path for path in sys.path if path])
    done = subprocess.run(
        ["sh", "-c", f'"$@" {redirection}', "sh", sys.executable, "-c", program, *words],
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_output_is_no_success() -> None:
    status, _, err = run(">/dev/full", "list", "tuning")
    assert status == 2
    assert err.startswith("prefixcap: no space is left on the disk")
    assert err.count("\n") == 1


def test_a_closed_output_is_no_success() -> None:
    status, _, err = run(">&-", "list", "tuning")
    assert (status, err) == (2, "prefixcap: cannot use standard output: it is closed\n")


def test_errors_do_not_go_to_the_output_if_there_is_no_other_place() -> None:
    assert run("2>&-", "lst") == (2, "", "")


def test_a_reader_that_has_enough_is_no_error() -> None:
    # a pipeline's status is that of its last command
    assert run("| head -n 1", "list") == (0, "encoder:\n", "")


def test_a_limit_on_the_size_of_files(shell: Shell, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        status, out, err = shell("bench", "--save-study", tmp_path / "study.toml", "--dry-run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (status, out) == (2, "")
    assert "a file would be larger than this process may write" in err or "File too large" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", MACHINE)
def test_what_the_machine_refuses_is_explained(number: int) -> None:
    named = sentence_of(OSError(number, os.strerror(number), "runs/x"))
    assert named is not None
    assert " runs/x" in named
    assert sentence_of(OSError(number, os.strerror(number))) is not None
    rust = RuntimeError(f"I/O error: {os.strerror(number)} (os error {number})")
    assert sentence_of(rust) == named.replace(" for runs/x", "")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"), "TMP"),
        (RuntimeError("PytorchStreamWriter failed writing file data/0"), "could not be written"),
        (MemoryError(), "not enough memory"),
        (PermissionError(errno.EACCES, "Permission denied", "x"), "cannot use x: Permission"),
    ],
)
def test_other_refusals_are_explained(error: Exception, sentence: str) -> None:
    assert sentence in (sentence_of(error) or "")


def test_an_unexpected_error_saves_its_traceback(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a mistake")

    monkeypatch.setattr("prefixcap.plugin.registry.Registry.names", broken)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    status, out, err = shell("list")
    assert (status, out, err.count("\n")) == (1, "", 1)
    (file,) = tmp_path.iterdir()
    start = f"prefixcap: an internal error: ZeroDivisionError: a mistake ({__file__}:"
    assert err.startswith(start)
    assert err.endswith(f"finished work is saved; its traceback is in {file}, please report it\n")
    assert "in broken" in file.read_text("utf-8")
    monkeypatch.setenv("PREFIXCAP_TRACEBACK", "1")
    _, _, err = shell("list")
    assert "in broken" in err
    assert len(list(tmp_path.iterdir())) == 1
