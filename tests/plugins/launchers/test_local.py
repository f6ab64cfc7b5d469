"""The queue of works, and processes of this machine that share a study."""

from __future__ import annotations

import functools
import os
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Thread
from typing import Any

import attrs
import pytest
import torch
from cli_world import World, outcome
from ending import Ending
from hypothesis import given, settings
from hypothesis import strategies as st
from launch_world import SlowStart, noted, wait_for
from prefixcap_launchers.configs import Local

from prefixcap.cli import main
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.launching.launcher import ATTEMPTS, Work, WorkQueue
from prefixcap.study.definition.study import Study
from prefixcap.study.execution import runner
from prefixcap.study.execution.launching import works
from prefixcap.study.execution.runner import run_study

torch.set_num_threads(1)
Shell = Callable[..., tuple[int, str, str]]


# The queue.


@settings(max_examples=60)
@given(
    groups=st.lists(st.sampled_from("abc"), max_size=12),
    workers=st.integers(1, 4),
    fates=st.lists(st.booleans(), max_size=60),
)
def test_every_work_is_done_or_left(groups: list[str], workers: int, fates: list[bool]) -> None:
    """Workers that take turns end during some works, and each group has a further work."""
    done: list[str] = []
    given = [Work(name=f"{n}", group=group) for n, group in enumerate(groups)]

    def finish(work: Work, result: Any) -> Sequence[Work]:
        assert result == work.name
        done.append(work.name)
        return () if "+" in work.name else [Work(name=f"{work.name}+", group=work.group)]

    queue = WorkQueue(given, finish)
    last: list[Work | None] = [None] * workers
    tries: Counter[str] = Counter()
    fate = iter(fates)
    turn = 0
    while queue:
        worker, turn = turn % workers, turn + 1
        work = queue.take(last[worker])
        assert work is not None
        tries[work.name] += 1
        if next(fate, True):
            last[worker] = work
            queue.finish(work, work.name)
        else:
            last[worker] = None
            queue.fail(work)
    left = [work.name for work in queue.left]
    assert sorted(done + left) == sorted({*done, *left})
    expected = {work.name for work in given} | {f"{name}+" for name in done if "+" not in name}
    assert {*done, *left} == expected
    assert all(tries[name] == ATTEMPTS for name in left)
    assert queue.take() is None


def test_a_worker_stays_with_its_group_and_others_take_another() -> None:
    queue = WorkQueue(
        [Work(name=f"{g}{n}", group=g) for g in "ab" for n in range(3)], lambda *_: ()
    )
    one = queue.take()
    two = queue.take()
    assert one is not None
    assert two is not None
    assert {one.group, two.group} == {"a", "b"}
    for _ in range(2):
        assert queue.take(one).group == one.group  # type: ignore[union-attr]
    # its group has no more
    assert queue.take(one).group == two.group  # type: ignore[union-attr]


# Processes.


def launched(start: Any, names: Sequence[str], processes: int = 2) -> tuple[list[str], list[str]]:
    done: list[str] = []

    def finish(work: Work, result: Any) -> Sequence[Work]:
        assert result == work.name
        done.append(work.name)
        return ()

    left = Local(processes=processes).build().run(start, [Work(name=n) for n in names], finish)
    return done, [work.name for work in left]


def test_work_of_a_killed_process_is_done_by_another(tmp_path: Path) -> None:
    done, left = launched(Ending(folder=str(tmp_path)), ["a", "once b", "c", "once d", "e"])
    assert sorted(done) == ["a", "c", "e", "once b", "once d"]
    assert left == []


def test_work_that_always_ends_its_process_is_left(tmp_path: Path) -> None:
    done, left = launched(Ending(folder=str(tmp_path), ends=("b",)), ["a", "b", "c"])
    assert (sorted(done), left) == (["a", "c"], ["b"])


def test_work_that_cannot_be_sent_is_a_sentence() -> None:
    with pytest.raises(PrefixcapError, match="the work cannot be sent to a process"):
        launched(lambda: None, ["a"])


# Studies.


def test_a_killed_process_leaves_the_same_study(
    grid: Study, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is killed while two processes share the images of a cell."""
    notes = tmp_path / "notes"
    notes.mkdir()
    start = functools.partial(SlowStart, notes=str(notes))
    monkeypatch.setattr(works, "StartWorker", start)
    monkeypatch.setattr(works, "SHARD", 4)

    def kill() -> None:
        wait_for(lambda: len(noted(notes, "captioned")) == 2)
        os.kill(next(iter(noted(notes, "captioned"))), signal.SIGKILL)

    killer = Thread(target=kill)
    killer.start()
    results = run_study(grid, tmp_path / "study", launcher="local:processes=2")
    killer.join()
    assert outcome(tmp_path / "study") == outcome(alone)
    # every image is captioned once, but those that the killed process had not written yet
    captioned = sum(noted(notes, "captioned").values())
    assert 4 * 8 <= captioned <= 4 * 8 + 4
    assert results.work["trained_models"] == 2


def test_without_processes_nothing_is_launched(
    grid: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(self: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(works.StudyLaunch, "_first", never)
    monkeypatch.setattr(runner.Runner, "do", never)
    small = attrs.evolve(grid, prefix_lengths=(2,), decoders=grid.decoders[:1])
    assert run_study(small, tmp_path / "study").rows


def test_an_error_of_a_worker_is_a_sentence(world: World, tmp_path: Path, shell: Shell) -> None:
    words = [*world.bench, "--out", str(tmp_path / "study"), "--launcher", "local:processes=1"]
    words[words.index("--dataset") + 1] = "jsonl:path=nowhere"
    status, _, err = shell(*words)
    assert status == 2
    assert "nowhere" in err


@pytest.mark.parametrize(
    ("launcher", "text"),
    [
        ("slurm", "no launcher 'slurm'"),
        ("local:processes=-1", "processes"),
        ("local:workers=2", "no setting 'workers'"),
        ("ray:num_gpus=-1", "num_gpus must be at least 0, not -1"),
    ],
)
def test_a_wrong_launcher_is_a_sentence(
    world: World, tmp_path: Path, shell: Shell, launcher: str, text: str
) -> None:
    status, _, err = shell(*world.bench, "--out", tmp_path / "study", "--launcher", launcher)
    assert status == 2
    assert text in err
    assert not (tmp_path / "study").exists()


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    def run(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return status, out, err

    return run
