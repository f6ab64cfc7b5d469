"""How work is shared, how long it takes, and how a study is written down."""

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
from prefixcap.study.artifacts.locks import locked, shared
from prefixcap.study.definition import options
from prefixcap.study.definition.study import Study
from prefixcap.study.execution.ahead import PAUSE, Ahead
from prefixcap.study.execution.estimate import FILE, Timings, Work, note
from prefixcap.study.execution.workers import at_work, others
from prefixcap.util.progress import Whole, duration

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
    """Another process that holds a place until it is told a line."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(place)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        yield other


def work(kind: str = "training", units: int = 10, **by: str | int) -> Work:
    return Work(kind=kind, units=units, by=by)


def test_what_another_process_holds_comes_last(tmp_path: Path) -> None:
    with holding(tmp_path / "b") as other:
        assert other.stdin is not None
        assert list(shared("abc", lambda name: tmp_path / name, wait=False)) == ["a", "c"]
        found = []
        for name in shared("abc", lambda name: tmp_path / name):
            found.append(name)
            with locked(tmp_path / name):  # held by this process already
                pass
            if name == "c":
                other.stdin.write("\n")
                other.stdin.flush()
        assert found == ["a", "c", "b"]


def test_studies_beside_one_stand_in_for_what_it_has_not_measured(tmp_path: Path) -> None:
    note(tmp_path / "old", work("scoring", 10, metric="bleu"), 20.0)
    note(tmp_path / "old", work(mapper="mlp"), 90.0)
    note(tmp_path / "new", work(mapper="mlp"), 10.0)
    pieces = [work(mapper="mlp"), work("scoring", 10, metric="bleu")]
    assert Timings(tmp_path / "new").seconds(pieces) == {"training": 10.0, "scoring": None}
    timings = Timings(tmp_path / "new", beside=True)
    assert timings.seconds(pieces) == {"training": 10.0, "scoring": 20.0}
    assert timings.lent == {"scoring"}
    assert Timings(tmp_path / "none" / "new", beside=True).seconds(pieces[:1]) == {"training": None}


def test_time_is_told_by_the_measurements_that_are_most_alike(tmp_path: Path) -> None:
    assert Timings(tmp_path).seconds([work()]) == {"training": None}
    for mapper, length, seconds in (("mlp", 1, 10.0), ("mlp", 10, 40.0), ("linear", 10, 5.0)):
        note(tmp_path, work(mapper=mapper, prefix_length=length), seconds)
    note(tmp_path, work("scoring", 0, metric="bleu"), 9.0)
    with (tmp_path / FILE).open("a") as file:
        file.write('{"work": "training", "units": 3')
    timings = Timings(tmp_path)
    for mapper, length, each in (
        ("mlp", 1, 1.0),
        ("mlp", 2, 1.0),
        ("mlp", 40, 4.0),
        ("linear", 1, 0.5),
        ("transformer", 1, 1.0),
    ):
        assert timings.each(work(mapper=mapper, prefix_length=length)) == each
    pieces = [work(mapper="mlp", prefix_length=10), work(mapper="mlp", prefix_length=1, units=20)]
    assert timings.seconds([*pieces, work("scoring", metric="bleu")]) == {
        "training": 60.0,
        "scoring": None,
    }


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (89, "89 s"), (91, "2 min"), (5000, "83 min"), (5400, "1.5 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_whole_study_is_told_beside_the_present_work() -> None:
    whole = Whole(done=3, cells=8, after=100.0)
    assert whole.text(20.0) == "study: 3 of 8 cells, about 2 min left"
    assert Whole(done=3, cells=8, after=None).text(20.0) == "study: 3 of 8 cells"
    assert Whole(done=0, cells=1, after=10.0).text(20.0) == "study, about 30 s left"
    assert Whole(done=0, cells=1, after=None).text(20.0) == ""


def test_what_is_left_is_looked_at_only_as_often_as_that_pays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, looks = [100.0], 0
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])

    def look() -> list[Work]:
        nonlocal looks
        looks += 1
        clock[0] += 2.0
        return [work(units=50), work(units=10)]

    ahead = Ahead(tmp_path, look)
    assert ahead.beside([work(units=10)]) is None  # nothing was measured, so it is looked at again
    note(tmp_path, work(units=4), 8.0)
    assert ahead.beside([work(units=10)]) == 100.0
    assert looks == 2
    clock[0] += 2.0 * PAUSE - 1
    assert ahead.beside([work(units=5)]) == 120.0 - (2.0 * PAUSE - 1) - 10.0
    assert looks == 2
    clock[0] += 1
    assert ahead.beside([]) == 120.0
    assert looks == 3


def test_processes_share_what_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note(tmp_path, work(units=4), 8.0)

    def after() -> float | None:
        monkeypatch.setattr("time.perf_counter", lambda: 0.0)
        return Ahead(tmp_path, lambda: [work(units=50), work(units=10)]).beside([work(units=10)])

    with at_work(tmp_path):
        assert (others(tmp_path), after()) == (0, 100.0)
        with holding(tmp_path / "elsewhere-17") as other:
            assert (others(tmp_path), after()) == (1, 40.0)
            other.kill()  # the system frees what it held
            other.wait()
            assert (others(tmp_path), after()) == (0, 100.0)
    assert list((tmp_path / ".locks").iterdir()) == []


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
def test_a_file_and_the_options_make_the_same_study(
    tmp_path_factory: pytest.TempPathFactory, chosen: set[str]
) -> None:
    every = {**LISTS, **SINGLES}
    choices = {key: every[key] for key in chosen}
    registry = default_registry()
    study = options.study(choices, registry)
    file = tmp_path_factory.getbasetemp() / "a-study.toml"
    options.write_file(file, choices)
    found = options.study(options.read_file(file), registry)
    assert found == study
    assert found.labels == study.labels
    assert Study.from_json(study.to_json(), registry) == study


def test_everything_at_once_is_the_whole_product() -> None:
    study = options.study({**LISTS, **SINGLES}, default_registry())
    assert study.cells == 3 * 2 * 3 * 2 * 2 * 2 * 2
    models = [
        model
        for encoder in study.encoders
        for lm in study.lms
        for model in study.models(encoder, lm)
    ]
    assert len(set(map(repr, models))) == len(models) == study.cells // 3
