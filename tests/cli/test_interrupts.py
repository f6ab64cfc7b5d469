"""Ctrl-C and requests to end, at any moment: one sentence, a status, and no process left."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_world import World

from prefixcap.util.process import interrupts as module
from prefixcap.util.process.interrupts import handled, interrupted

Shell = Callable[..., tuple[int, str, str]]

# the function during which the signal comes, and the words of the command
MOMENTS = {
    "help": ("prefixcap.plugin.commands.plugin_commands", ["--help"]),
    "plugins": ("prefixcap.plugin.commands.plugin_commands", ["plugins"]),
    "list": ("prefixcap.plugin.registry.Registry.names", ["list"]),
    "show": ("prefixcap.plugin.registry.Registry.config_class", ["show", "decoder", "beam"]),
    "check": ("prefixcap.testing.kit.run_check", ["check", "decoder", "greedy"]),
    "options": ("prefixcap.study.definition.options.study", ["BENCH"]),
    "plan": ("prefixcap.study.execution.grid.resolve", ["BENCH", "--dry-run"]),
    "data": ("prefixcap.study.execution.data.load", ["BENCH"]),
    "trial": ("prefixcap.study.execution.trial.try_models", ["BENCH"]),
    "training": ("prefixcap.training.trainer.Trainer.step", ["BENCH"]),
    "scoring": ("prefixcap.evaluation.evaluate.evaluate", ["BENCH"]),
    "train": ("prefixcap.training.batches.batches", ["TRAIN"]),
    "eval": ("prefixcap.evaluation.evaluate.evaluate", ["eval", "PREDICTIONS"]),
    "compare": ("prefixcap.study.analysis.reader.load_study", ["compare", "STUDY"]),
    "table": ("prefixcap.study.analysis.tables.table", ["compare", "STUDY"]),
    "report": ("prefixcap.report.gather.gather", ["report", "STUDY"]),
    "figures": ("prefixcap.report.writing.write", ["report", "STUDY", "--out", "OUT"]),
    "cache": ("prefixcap.study.execution.prune.of_study", ["cache", "STUDY"]),
    "caption": ("prefixcap.captioning.captioner.Captioner.load", ["CAPTION"]),
    "decoding": ("prefixcap.captioning.captioner.Captioner.iter_caption", ["CAPTION"]),
}


def patch_all(monkeypatch: pytest.MonkeyPatch, name: str, wrap: Callable[[Any], Any]) -> None:
    """Replace a function in every module that has imported it."""
    place, _, attribute = name.rpartition(".")
    try:
        owner: Any = importlib.import_module(place)
    except ModuleNotFoundError:
        home, _, cls = place.rpartition(".")
        owner = getattr(importlib.import_module(home), cls)
        monkeypatch.setattr(owner, attribute, wrap(vars(owner)[attribute]))
        return
    usual = getattr(owner, attribute)
    for each in [m for n, m in sys.modules.items() if n.startswith("prefixcap")]:
        if getattr(each, attribute, None) is usual:
            monkeypatch.setattr(each, attribute, wrap(usual))


@pytest.mark.parametrize("moment", MOMENTS)
def test_ctrl_c_at_any_moment(
    shell: Shell,
    world: World,
    study: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    name, words = MOMENTS[moment]
    line = {"image": "a", "references": ["a dog"], "prediction": "a dog"}
    (tmp_path / "p.jsonl").write_text(json.dumps(line) + "\n")
    np.save(tmp_path / "f.npy", np.zeros((2, 7), np.float32))
    known = {
        "BENCH": [*world.bench, "--out", tmp_path / "run"],
        "TRAIN": ["train", *world.options, "--out", tmp_path / "run"],
        "CAPTION": ["caption", "--run", study, "--features", tmp_path / "f.npy"],
        "PREDICTIONS": [tmp_path / "p.jsonl", "--metrics", "length"],
        "STUDY": [study],
        "OUT": [tmp_path / "report"],
    }

    over: list[str] = []

    def wrap(usual: Any) -> Any:
        def stop(*arguments: Any, **named: Any) -> Any:
            if not over:  # a module that is first imported now has this function for good
                signal.raise_signal(signal.SIGINT)
            return usual(*arguments, **named)

        return stop

    patch_all(monkeypatch, name, wrap)
    usual = signal.getsignal(signal.SIGINT)
    status, out, err = shell(*(word for each in words for word in known.get(each, [each])))
    over.append(moment)
    sentences = [line for line in err.splitlines() if line.startswith("prefixcap: ")]
    assert (status, out) == (130, "")
    assert len(sentences) == 1
    assert sentences[0].startswith("prefixcap: stopped")
    works = words in (["BENCH"], ["TRAIN"]) and moment != "options"
    assert ("continue" in sentences[0]) == works
    assert "Traceback" not in err
    assert signal.getsignal(signal.SIGINT) is usual
    assert not interrupted()


@pytest.mark.parametrize(
    ("raised", "sentence"), [("SIGTERM", "stopped by SIGTERM"), ("SIGHUP", "stopped by SIGHUP")]
)
def test_a_request_to_end_stops_as_well(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, raised: str, sentence: str
) -> None:
    number = getattr(signal, raised)

    def names(*_: object) -> None:
        signal.raise_signal(number)

    monkeypatch.setattr("prefixcap.plugin.registry.Registry.names", names)
    assert shell("list") == (128 + number, "", f"prefixcap: {sentence}\n")


def test_what_an_interrupt_breaks_is_no_error(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def names(*_: object) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:  # as libraries do that are being imported
            raise ImportError("half imported") from None

    monkeypatch.setattr("prefixcap.plugin.registry.Registry.names", names)
    assert shell("list") == (130, "", "prefixcap: stopped\n")


def test_an_ignored_signal_stays_ignored() -> None:
    usual = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # by nohup
    try:
        with handled(until_exit=False):
            signal.raise_signal(signal.SIGHUP)
            assert not interrupted()
    finally:
        signal.signal(signal.SIGHUP, usual)


def test_a_swallowed_interrupt_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    count = 0
    with handled(until_exit=False):
        for _ in range(2):
            try:
                if not count:
                    signal.raise_signal(signal.SIGINT)
                threading.Event().wait(30)
            except KeyboardInterrupt:
                count += 1
    assert count == 2


PROGRAM = "import sys; sys.path[:0] = {path!r}; from prefixcap.cli import main; sys.exit(main())"


def start(*words: object, before: str = "") -> subprocess.Popen[str]:
    program = f"{before}\n{PROGRAM.format(path=[p for p in sys.path if p])}"
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def output(process: subprocess.Popen[str]) -> tuple[str, str]:
    try:
        return process.communicate(timeout=60)
    finally:
        process.kill()


def java_of(process: subprocess.Popen[str]) -> list[int]:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [n for n in map(int, children) if "java" in Path(f"/proc/{n}/cmdline").read_text()]


def is_running(number: int) -> bool:
    try:
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"  # ended, but not waited for by its new parent


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux's /proc")
@pytest.mark.parametrize(("metric", "number"), [("meteor", signal.SIGTERM), ("bleu", 2)])
def test_java_ends_with_the_command(tmp_path: Path, metric: str, number: int) -> None:
    line = {"image": "a", "references": ["a dog"], "prediction": "a dog"}
    (tmp_path / "p.jsonl").write_text(json.dumps(line) + "\n")
    process = start("eval", tmp_path / "p.jsonl", "--metrics", metric)
    deadline = time.monotonic() + 60
    while not (java := java_of(process)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.poll() is None
    process.send_signal(number)
    out, err = output(process)
    assert (process.returncode, out) == (128 + number, "")
    assert err.splitlines()[-1].startswith("prefixcap: stopped")
    assert "Traceback" not in err
    deadline = time.monotonic() + 5
    while any(map(is_running, java)) and time.monotonic() < deadline:
        time.sleep(0.01)  # it was told to end, which takes a moment
    assert not any(map(is_running, java))


# a signal during the first import of a module, in code that catches everything or a callback
IMPORT = """
import signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            sys.meta_path.remove(self)
            try:
                signal.raise_signal(signal.SIGINT)
            except BaseException:
                if {swallow}: return None
                raise
sys.meta_path.insert(0, Finder())
"""


@pytest.mark.parametrize(
    ("name", "swallow"), [("typer", False), ("prefixcap.cli.app", True), ("cattrs", False)]
)
def test_ctrl_c_during_imports(name: str, swallow: bool) -> None:
    before = IMPORT.format(name=name, swallow=swallow)
    process = start("bench", "--dataset", "jsonl:path=/none", before=before)
    out, err = output(process)
    assert (process.returncode, out, err) == (130, "", "prefixcap: stopped\n")


def test_code_that_swallows_everything_is_ended() -> None:
    before = """
import prefixcap.util.process.interrupts as module, signal
module.PATIENCE = 0.05
from prefixcap.plugin.registry import Registry
def forever(*_):
    while True:
        try:
            if not module.interrupted():
                signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            pass
Registry.names = forever
"""
    process = start("list", before=f"import sys; sys.path[:0] = {sys.path!r}\n{before}")
    out, err = output(process)
    assert (process.returncode, out, err) == (130, "", "prefixcap: stopped\n")


def test_a_fork_is_not_the_process_that_was_meant() -> None:
    with handled(until_exit=False):
        child = os.fork()
        if not child:
            signal.raise_signal(signal.SIGTERM)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGTERM
        assert not interrupted()
