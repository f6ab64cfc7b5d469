"""A study that is killed at any moment resumes, with the same result."""

from __future__ import annotations

import multiprocessing
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from cli_world import World, outcome, run_and_tell
from core.study.test_guards import Recorder

from prefixcap.interfaces.decoder import Hypothesis
from prefixcap.plugin.registry import default_registry
from prefixcap.study.artifacts import folder as folder_module
from prefixcap.study.artifacts.locks import lock_file, shared
from prefixcap.study.definition import options
from prefixcap.study.definition.study import Study
from prefixcap.study.execution.runner import run_study
from prefixcap.util import files as files_module


class Killed(BaseException):
    """An interruption that no code may catch."""


@pytest.fixture(scope="module")
def whole(small: Study, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The result of the uninterrupted study."""
    folder = tmp_path_factory.mktemp("whole")
    run_study(small, folder)
    return outcome(folder)


def killing(after: int) -> Iterator[None]:
    """Count writes until the process is killed."""
    yield from [None] * after
    raise Killed


def killed(
    study: Study, folder: Path, monkeypatch: pytest.MonkeyPatch, after: int, inside: str = ""
) -> bool:
    """Run a study until `after` files are written; return whether it was killed."""
    replace, countdown = files_module.atomic_write, killing(after)

    def deadly(path: Path, content: bytes) -> None:
        if not inside or path.parents[1].name == inside:
            next(countdown)
        replace(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(files_module, "atomic_write", deadly)
        try:
            run_study(study, folder)
        except Killed:
            return True
    return False


def kill_while_captioning(
    study: Study, folder: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """Run a study until it is killed, after the captions of `after` images."""
    to_json, countdown = Hypothesis.to_json, killing(after)

    def deadly(hypothesis: Hypothesis) -> dict[str, object]:
        next(countdown)
        return to_json(hypothesis)

    with monkeypatch.context() as patch:
        patch.setattr(Hypothesis, "to_json", deadly)
        with pytest.raises(Killed):
            run_study(study, folder)


def test_killed_at_every_write(
    small: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = attrs.evolve(small, baselines=False)
    run_study(study, tmp_path / "whole")
    whole = outcome(tmp_path / "whole")
    deaths = 0
    while killed(study, folder := tmp_path / str(deaths), monkeypatch, deaths):
        run_study(study, folder)
        assert outcome(folder) == whole, f"killed at write {deaths}"
        deaths += 1
    assert deaths >= 15


@pytest.mark.parametrize("after", [0, 2, 7, 9])
def test_killed_while_baselines_are_written(
    small: Study,
    whole: dict[str, object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    after: int,
) -> None:
    assert killed(small, tmp_path, monkeypatch, after, inside="baselines")
    run_study(small, tmp_path)
    assert outcome(tmp_path) == whole


@pytest.mark.parametrize("after", [0, 1, 5])
def test_killed_in_the_middle_of_a_line(
    small: Study,
    whole: dict[str, object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    after: int,
) -> None:
    kill_while_captioning(small, tmp_path, monkeypatch, after)
    (partial,) = tmp_path.glob("cells/*/captions.partial.jsonl")
    with partial.open("a") as file:
        file.write('{"image": "test-7.png", "captions": [{"te')
    results = run_study(small, tmp_path)
    assert results.work["decoded_images"] == 16 - after
    assert outcome(tmp_path) == whole


def test_an_altered_line_of_a_killed_process_is_reported_and_replaced(
    small: Study, whole: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_while_captioning(small, tmp_path, monkeypatch, 5)
    (partial,) = tmp_path.glob("cells/*/captions.partial.jsonl")
    first, *rest = partial.read_text().splitlines(keepends=True)
    partial.write_text("".join([first.replace('"text": "', '"text": "not '), *rest]))
    recorder = Recorder()
    results = run_study(small, tmp_path, recorder)
    assert [text.partition(":")[0] for text in recorder.messages] == [str(partial)]
    assert "1 line was altered after it was written: its image is captioned" in recorder.messages[0]
    assert results.work["decoded_images"] == 16 - 5 + 1
    assert outcome(tmp_path) == whole


def test_batch_dependent_captions_are_decoded_together(
    small: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoders = options.study({"decoder": "guidance:against=mean"}, default_registry()).decoders
    study = attrs.evolve(small, decoders=decoders)
    run_study(study, tmp_path / "whole")
    kill_while_captioning(study, tmp_path / "killed", monkeypatch, 3)
    assert run_study(study, tmp_path / "killed").work["decoded_images"] == 8
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "whole")


@pytest.fixture(scope="module")
def processes() -> multiprocessing.context.ForkServerContext:
    """Start processes that have imported everything already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["prefixcap.study.execution.runner", "prefixcap.training.train"])
    return context


@pytest.fixture(scope="module")
def wide(small: Study) -> Study:
    """A study of four models and eight cells, with trainings of several epochs."""
    training = attrs.evolve(small.training, epochs=6, patience=None)
    mappers = tuple(options.study({"mapper": "linear,mlp"}, default_registry()).mappers)
    return attrs.evolve(small, mappers=mappers, seeds=(0, 1), training=training)


@pytest.fixture(scope="module")
def alone(wide: Study, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    """The result and the work of one uninterrupted process."""
    folder = tmp_path_factory.mktemp("alone")
    return folder, run_study(wide, folder).work


@pytest.mark.timeout(900)  # other processes import torch beside this one
def test_killed_by_the_system_at_random_moments(
    wide: Study,
    alone: tuple[Path, dict[str, int]],
    processes: multiprocessing.context.ForkServerContext,
    tmp_path: Path,
) -> None:
    moments = random.Random(3)
    answers = processes.SimpleQueue()
    for _ in range(8):
        process = processes.Process(target=run_and_tell, args=(wide, tmp_path, answers))
        process.start()
        process.join(moments.uniform(0.1, 2.5))
        process.kill()
        process.join()
    run_study(wide, tmp_path)
    assert outcome(tmp_path) == outcome(alone[0])
    assert not list(tmp_path.glob("models/*/training.ckpt"))


@pytest.mark.timeout(900)
def test_two_processes_do_each_piece_of_work_once(
    wide: Study,
    alone: tuple[Path, dict[str, int]],
    processes: multiprocessing.context.ForkServerContext,
    tmp_path: Path,
) -> None:
    answers = processes.SimpleQueue()
    both = [
        processes.Process(target=run_and_tell, args=(wide, tmp_path, answers)) for _ in range(2)
    ]
    for process in both:
        process.start()
    for process in both:
        process.join()
        assert process.exitcode == 0
    shares = [answers.get() for _ in both]
    once = alone[1].keys() - {"mapped_images"}  # each maps the images of the models it captions by
    assert all(sum(share[key] for share in shares) == alone[1][key] for key in once)
    assert outcome(tmp_path) == outcome(alone[0])


def test_a_model_is_unlocked_while_it_captions(
    small: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")
    to_json = Hypothesis.to_json
    looks = 0

    def looking(hypothesis: Hypothesis) -> dict[str, Any]:
        nonlocal looks
        (key,) = tmp_path.glob("models/*/key.json")
        with lock_file(key.parent).open("w") as opened:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        looks += 1
        return to_json(hypothesis)

    monkeypatch.setattr(Hypothesis, "to_json", looking)
    run_study(small, tmp_path)
    assert looks == 16


def test_waiting_for_another_process_is_reported(tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    lock_file(tmp_path / "a").parent.mkdir()
    with lock_file(tmp_path / "a").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        messages: list[str] = []

        def free(work: str) -> None:
            messages.append(work)
            fcntl.flock(other, fcntl.LOCK_UN)

        given = list(shared(["a", "b"], lambda name: tmp_path / name, on_wait=free))
    assert (given, messages) == (["b", "a"], ["a"])


def test_leftovers_of_a_killed_process_are_removed(small: Study, tmp_path: Path) -> None:
    run_study(small, tmp_path)
    (model,) = (key.parent for key in tmp_path.glob("models/*/key.json"))
    cell = next(tmp_path.glob("cells/*/cell.json")).parent
    left = model / "training.ckpt", cell / folder_module.PARTIAL_CAPTIONS
    left += tmp_path / ".scores.json.0.1.tmp", cell / ".cell.json.0.1.tmp"
    for file in left:
        file.write_text("")
    run_study(small, tmp_path)
    assert not any(file.exists() for file in left)


COMMAND = "import sys; from prefixcap.cli import main; sys.exit(main(sys.argv[1:]))"


def start(world: World, folder: Path) -> subprocess.Popen[bytes]:
    words = [*world.bench, "--decoder", "top-p", "--metrics", "length", "--out", str(folder)]
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


@pytest.mark.timeout(900)  # another process imports torch beside this one
def test_two_processes_share_a_study_and_one_may_be_killed(
    world: World, small: Study, tmp_path: Path
) -> None:
    both = attrs.evolve(small, max_new_tokens=8)
    expected = tmp_path / "expected"
    run_study(both, expected)
    both_in = tmp_path / "shared"
    other = start(world, both_in)
    try:
        while other.poll() is None and not list(both_in.glob("features/*/*.safetensors")):
            time.sleep(0.01)
        death = threading.Timer(0.5, other.kill)
        death.start()
        run_study(both, both_in)
        death.join()
    finally:
        other.kill()
    other.wait()
    assert outcome(both_in) == outcome(expected)
