"""Sharing of work, time estimates and study files."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefixcap.plugin.registry import default_registry
from prefixcap.study.artifacts import timings
from prefixcap.study.artifacts.folder import StudyJob
from prefixcap.study.artifacts.locks import locked, shared
from prefixcap.study.definition import options
from prefixcap.study.definition.study import Study
from prefixcap.util.progress import duration

HOLD = """
import sys
from pathlib import Path
from prefixcap.study.artifacts.locks import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


@contextlib.contextmanager
def holding(place: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds a lock until it reads a line."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(place)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        yield other


def test_work_locked_by_another_process_comes_last(tmp_path: Path) -> None:
    with holding(tmp_path / "b") as other:
        assert other.stdin is not None
        assert list(shared("abc", lambda name: tmp_path / name, wait=False)) == ["a", "c"]
        result = []
        for name in shared("abc", lambda name: tmp_path / name):
            result.append(name)
            with locked(tmp_path / name):  # held by this process already
                pass
            if name == "c":
                other.stdin.write("\n")
                other.stdin.flush()
        assert result == ["a", "c", "b"]


def test_locks_of_a_killed_process_are_free(tmp_path: Path) -> None:
    with holding(tmp_path / "a") as other:
        assert list(shared("a", lambda name: tmp_path / name, wait=False)) == []
        other.kill()
        other.wait()
        assert list(shared("a", lambda name: tmp_path / name, wait=False)) == ["a"]


def test_a_lock_is_free_after_its_outermost_use(tmp_path: Path) -> None:
    with locked(tmp_path / "a"):
        with locked(tmp_path / "a"):
            pass
        with pytest.raises(subprocess.TimeoutExpired):
            subprocess.run(
                [sys.executable, "-c", HOLD, str(tmp_path / "a")], timeout=2, input=b"", check=True
            )
    with holding(tmp_path / "a") as other:
        other.kill()


def test_missing_measurements_come_from_neighbouring_studies(tmp_path: Path) -> None:
    old, new = (StudyJob(Study(), tmp_path / name) for name in ("old", "new"))
    assert timings.seconds_per_unit(new.files) == ({}, set())
    timings.record(old, timings.SCORING, "bleu", 10, 20.0)
    timings.record(old, timings.TRAINING, "mlp", 10, 90.0)
    timings.record(new, timings.TRAINING, "mlp", 10, 10.0)
    means, borrowed = timings.seconds_per_unit(new.files)
    assert means == {"training": 1.0, "scoring": 2.0}
    assert borrowed == {"scoring"}
    assert timings.seconds_per_unit(old.files) == ({"training": 9.0, "scoring": 2.0}, set())


def test_times_are_means_of_their_kind_of_work(tmp_path: Path) -> None:
    job = StudyJob(Study(), tmp_path / "alone" / "study")
    for mapper, units, seconds in (("mlp", 10, 10.0), ("mlp", 20, 80.0), ("linear", 10, 10.0)):
        timings.record(job, timings.TRAINING, mapper, units, seconds)
    timings.record(job, timings.SCORING, "bleu", 0, 9.0)
    with job.files.timings.open("a") as file:
        file.write('{"work": "training", "units": 3')  # a process was killed here
    assert timings.seconds_per_unit(job.files) == ({"training": 2.5}, set())


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (89, "89 s"), (91, "2 min"), (5000, "83 min"), (5400, "1.5 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


LISTS = {
    "mapper": ["mlp", "linear", "transformer:num_layers=2,heads=4"],
    "prefix_len": [1, "10"],
    "decoder": ["greedy", "beam:num_beams=5,length_penalty=0.8", "top-p:top_p=0.5,n=2"],
    "encoder": ["scenes-clip", "clip:model=ViT-B/32"],
    "lm": ["scenes-gpt2", "hf:model=gpt2,init=random"],
    "tuning": ["frozen", "full"],
    "metrics": ["bleu", "cider,length", "distinct:max_n=3"],
    "seed": [0, 7],
}
SINGLES = {
    "dataset": "scenes:train=9,val=8,test=7",
    "epochs": 2,
    "training": "learning_rate=1e-3,patience=none,end=.",
    "limit": 5,
    "max_new_tokens": 9,
    "device": "cpu",
    "dtype": "bfloat16",
    "skip_unreadable": True,
    "no_baselines": True,
}


@given(st.sets(st.sampled_from([*LISTS, *SINGLES])))
def test_a_file_and_the_options_give_the_same_study(
    tmp_path_factory: pytest.TempPathFactory, chosen: set[str]
) -> None:
    every = {**LISTS, **SINGLES}
    choices = {key: every[key] for key in chosen}
    registry = default_registry()
    study = options.study(choices, registry)
    file = tmp_path_factory.getbasetemp() / "a-study.toml"
    options.write_file(file, choices)
    result = options.study(options.read_file(file), registry)
    assert result == study
    assert result.labels == study.labels
    data = study.to_json()
    assert Study.from_json(data, registry) == study
    assert "labels" not in data  # a comparison of studies would show them as settings


def test_a_study_is_the_full_product_of_its_options() -> None:
    study = options.study({**LISTS, **SINGLES}, default_registry())
    assert study.cells == 3 * 2 * 3 * 2 * 2 * 2 * 2
    models = [
        model
        for encoder in study.encoders
        for lm in study.lms
        for model in study.models(encoder, lm)
    ]
    assert len(set(map(repr, models))) == len(models) == study.cells // 3
