"""Events of trainings and studies, which plugins receive."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from core.study.test_guards import Recorder
from core.training.breaking import BreaksAt
from installed_plugins import forget, install, plugin

from prefixcap.errors import DivergedError, PrefixcapError
from prefixcap.interfaces.events import (
    CellScored,
    Event,
    StudyEnded,
    StudyStarted,
    TrainingEnded,
    TrainingEpoch,
    TrainingStarted,
    TrainingStep,
)
from prefixcap.plugin.events import parse_trackers
from prefixcap.plugin.registry import default_registry
from prefixcap.study.definition.study import Study
from prefixcap.study.execution.runner import run_study
from prefixcap.study.execution.training import train_one

PAGE = Path(__file__).parents[3] / "docs/plugins.md"
RECORDING = """
from prefixcap import hookimpl
events = []
@hookimpl
def prefixcap_events(event):
    events.append(event)
"""
FAILING = """
from prefixcap import hookimpl
@hookimpl
def prefixcap_events(event):
    raise KeyboardInterrupt("from a plugin")
"""
TRACKING = """
from typing import ClassVar
import attrs
from prefixcap import hookimpl
from prefixcap.interfaces.events import Tracker, TrackerConfig
kinds = []
class Listing(Tracker):
    def on_event(self, event):
        kinds.append(type(event).__name__)
    def close(self):
        kinds.append("closed")
        raise SystemExit(3)
@attrs.frozen(kw_only=True)
class ListingConfig(TrackerConfig):
    name: ClassVar[str] = "listing"
    height: int = 3
    def build(self, folder):
        return Listing()
@hookimpl
def prefixcap_trackers():
    return [ListingConfig]
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "site").mkdir()
    monkeypatch.syspath_prepend(tmp_path / "site")
    forget()
    yield tmp_path / "site"
    forget()


def recorded() -> list[Event]:
    default_registry()  # loads the plugin
    events: list[Event] = sys.modules["plugin_recording"].events
    return events


def test_a_study_sends_events_to_plugins_and_trackers(
    small: Study, site: Path, tmp_path: Path
) -> None:
    # the page's plugin works as it stands there
    (example,) = re.findall(r"```python\n(\"\"\"Append the losses.+?)```", PAGE.read_text(), re.S)
    for name, source in (
        ("example-log", example),
        ("failing", FAILING),
        ("recording", RECORDING),
        ("tracking", TRACKING),
    ):
        install(site, name, source)
    reporter, folder = Recorder(), tmp_path / "study"
    run_study(small, folder, reporter, trackers=["listing:height=4"])
    events = recorded()
    kinds = [type(event) for event in events]
    assert [kind for kind in kinds if kind is not TrainingStep] == [
        *(StudyStarted, TrainingStarted, TrainingEpoch, TrainingEnded),
        *(CellScored, CellScored, StudyEnded),
    ]
    assert {event.folder for event in events} == {folder}
    started, steps, epoch, ended, cell = (
        next(event for event in reversed(events) if isinstance(event, kind))
        for kind in (TrainingStarted, TrainingStep, TrainingEpoch, TrainingEnded, CellScored)
    )
    assert isinstance(started, TrainingStarted)
    assert started.settings["mapper"] == "linear"
    assert started.settings["training"]["epochs"] == 1
    assert isinstance(steps, TrainingStep)
    assert steps.step == steps.steps == 2
    assert isinstance(epoch, TrainingEpoch)
    assert set(epoch.values) == {"learning_rate", "train_loss", "val_loss"}
    assert set(epoch.captions) == {"val-0.png", "val-1.png", "val-2.png"}
    assert isinstance(ended, TrainingEnded)
    assert ended.values["val_loss"] == epoch.values["val_loss"]
    assert isinstance(cell, CellScored)
    assert cell.scores["Length"] > 0
    assert cell.settings["decoder"] == "top-p"
    # what fails is reported once, and does not end the run
    failed = [message for message in reporter.messages if "fail" in message]
    assert len(failed) == 2
    assert failed[0].startswith(f"the plugin {plugin('failing')} failed on StudyStarted: Keyb")
    assert failed[1].startswith("the tracker 'listing' failed at the end: SystemExit: 3")
    assert sys.modules["plugin_tracking"].kinds == [*(kind.__name__ for kind in kinds), "closed"]
    (line,) = (folder / "losses.jsonl").read_text().splitlines()
    assert json.loads(line) == {"training": epoch.training, "epoch": 1, **epoch.values}


def test_a_training_that_diverges_sends_its_end(small: Study, site: Path, tmp_path: Path) -> None:
    install(site, "recording", RECORDING)
    with pytest.raises(DivergedError):
        train_one(attrs.evolve(small, mappers=[BreaksAt()]), tmp_path / "run", Recorder())
    last = recorded()[-1]
    assert isinstance(last, TrainingEnded)
    assert last.error.startswith("the loss became nan in step 1")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("listng", "--tracker: no tracker 'listng'; did you mean 'listing'?"),
        (
            "listing:tallness=2",
            "--tracker 'listing:tallness=2': no setting 'tallness'; known: height",
        ),
        ("listing:height=a", "--tracker 'listing:height=a': "),
    ],
)
def test_a_tracker_that_is_unknown_is_a_sentence(site: Path, text: str, reason: str) -> None:
    install(site, "tracking", TRACKING)
    with pytest.raises(PrefixcapError, match=re.escape(reason)):
        parse_trackers([text])


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("def build(", "def make(", "is not a config class of a tracker with build()"),
        ("height: int", "height: object", "the setting 'height' of ListingConfig has the type"),
        ('name: ClassVar[str] = "listing"', "", "ListingConfig has no name"),
    ],
)
def test_a_tracker_that_is_no_config_is_refused(
    site: Path, old: str, new: str, reason: str
) -> None:
    install(site, "bad", TRACKING.replace(old, new))
    assert reason in plugin().error
