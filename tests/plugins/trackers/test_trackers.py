"""The trackers, with the real libraries and without a network."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from prefixcap_trackers import configs

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.events import (
    CellScored,
    StudyEnded,
    Tracker,
    TrainingEnded,
    TrainingEpoch,
    TrainingStarted,
    TrainingStep,
)
from prefixcap.plugin.events import parse_trackers

SETTINGS = {"mapper": "mlp", "training": {"epochs": 2, "learning_rate": None}}


def record(tracker: Tracker, folder: Path) -> None:
    """Record a training of two epochs with four steps, and a cell."""
    place: dict[str, Any] = {"folder": folder, "training": "mlp-p2"}
    tracker.on_event(TrainingStarted(**place, settings=SETTINGS))
    for epoch in (1, 2):
        step = 2 * epoch
        tracker.on_event(TrainingStep(**place, step=step, steps=4, epoch=epoch, loss=3.5 - epoch))
        values, captions = (
            {"val_loss": 2.75 - epoch, "CIDEr": 0.25 * epoch},
            {"1.jpg": f"No {epoch}."},
        )
        event = TrainingEpoch(**place, step=step, epoch=epoch, values=values, captions=captions)
        tracker.on_event(event)
    summary = {"val_loss": 0.75, "training_flops": None}
    tracker.on_event(TrainingEnded(**place, values=summary))
    scored = CellScored(folder=folder, cell="mlp-beam", settings={}, scores={"Bleu_4": 0.125})
    tracker.on_event(scored)
    tracker.on_event(StudyEnded(folder=folder, cells=1))
    # one that is killed in the middle
    tracker.on_event(TrainingStarted(**place | {"training": "second"}, settings={}))
    tracker.close()


LOGGED = {
    "loss": {2: 2.5, 4: 1.5},
    "val_loss": {2: 1.75, 4: 0.75},
    "CIDEr": {2: 0.25, 4: 0.5},
    "final/val_loss": {4: 0.75},
}


def test_tensorboard_writes_an_event_file_a_run(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (config,) = parse_trackers(["tensorboard"])
    record(config.build(tmp_path), tmp_path)
    training, cell = (
        EventAccumulator(str(tmp_path / "tensorboard" / name)).Reload()
        for name in ("mlp-p2", "mlp-beam")
    )
    for name, expected in LOGGED.items():
        assert {each.step: each.value for each in training.Scalars(name)} == expected
    assert [each.value for each in cell.Scalars("Bleu_4")] == [0.125]
    captions = training.Tensors("captions/1.jpg/text_summary")
    assert [each.tensor_proto.string_val[0] for each in captions] == [b"No 1.", b"No 2."]
    (settings,) = training.Tensors("settings/text_summary")
    assert b'"mapper": "mlp"' in settings.tensor_proto.string_val[0]


def wandb_records(path: Path) -> Iterator[Any]:
    """Read the records of an offline run: blocks as LevelDB's log has them."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, place, data = path.read_bytes(), 7, b""
    while place + 7 <= len(content):
        if 32768 - place % 32768 < 7:  # the rest of a block
            place += 32768 - place % 32768
        _, length, kind = struct.unpack_from("<IHB", content, place)
        if place + 7 + length > len(content):
            return  # it is still being written
        data += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a whole record, or the end of one
            yield Record.FromString(data)
            data = b""


def complete_records(path: Path) -> list[Any]:
    """Wait for the end of a run's file, which wandb's service writes after `finish` returns."""
    for _ in range(600):
        records = list(wandb_records(path))
        if records and records[-1].WhichOneof("record_type") == "exit":
            return records
        time.sleep(0.1)
    pytest.fail(f"{path} has no end: {[each.WhichOneof('record_type') for each in records]}")


def test_wandb_writes_offline_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    (config,) = parse_trackers(["wandb:project=mine,mode=offline"])
    record(config.build(tmp_path), tmp_path)
    logged: dict[str, dict[str, dict[int, float]]] = {}
    for path in tmp_path.glob("wandb/offline-run-*/run-*.wandb"):
        records = complete_records(path)
        (run,) = (each.run for each in records if each.WhichOneof("record_type") == "run")
        assert (run.project, run.run_group) == ("mine", tmp_path.name)
        values = logged.setdefault(run.display_name, {})
        for each in records:
            if each.WhichOneof("record_type") == "history":
                items = {
                    i.key or i.nested_key[0]: json.loads(i.value_json) for i in each.history.item
                }
                for name, value in items.items():
                    values.setdefault(name, {})[items["_step"]] = value
    assert set(logged) == {"mlp-p2", "mlp-beam", "second"}
    assert {name: logged["mlp-p2"][name] for name in LOGGED} == LOGGED
    assert logged["mlp-beam"]["Bleu_4"] == {0: 0.125}
    tables = [json.loads(path.read_text()) for path in tmp_path.rglob("*.table.json")]
    assert sorted(table["data"][0] for table in tables) == [["1.jpg", "No 1."], ["1.jpg", "No 2."]]


def test_trackio_writes_its_data_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio")  # its versions so far exclude the newest Pillow
    (config,) = parse_trackers(["trackio:project=mine"])
    record(config.build(tmp_path), tmp_path)
    from trackio.sqlite_storage import SQLiteStorage

    rows: list[Mapping[str, Any]] = SQLiteStorage.get_logs("mine", "mlp-p2")
    for name, expected in LOGGED.items():
        assert {row["step"]: row[name] for row in rows if name in row} == expected
    (scores,) = SQLiteStorage.get_logs("mine", "mlp-beam")
    assert scores["Bleu_4"] == 0.125
    assert "No 2." in json.dumps(rows)


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "trackio"])
def test_a_library_that_is_missing_is_a_sentence(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configs.importlib.util, "find_spec", lambda _: None)
    (config,) = parse_trackers([name])
    sentence = rf"tracker '{name}' needs {name}: pip install 'prefixcap\[{name}\]'"
    with pytest.raises(PrefixcapError, match=sentence):
        config.build(tmp_path)


def test_no_library_is_imported_unless_it_is_chosen() -> None:
    code = (
        "import sys; from prefixcap.plugin.events import parse_trackers; "
        "parse_trackers(['tensorboard', 'wandb', 'trackio']); "
        "import prefixcap.study.execution.runner; "
        "print({'tensorboard', 'wandb', 'trackio'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
