"""The files and folders of a study, and whether a folder holds one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs

from prefixcap.captioning.checkpoint import CONFIG, MODEL_KEY, MODELS, is_study
from prefixcap.errors import PrefixcapError
from prefixcap.plugin.events import Events
from prefixcap.study.artifacts.shapes import STUDY_CONFIG
from prefixcap.study.definition.study import FORMAT, Study
from prefixcap.util.files import AlteredError, read_before_seals, read_json
from prefixcap.util.progress import Reporter, Silent
from prefixcap.util.runtime import device_named
from prefixcap.util.shapes import mismatch

# in a cell's or a baseline's folder
CELL = "cell.json"
CAPTIONS = "captions.jsonl"
PARTIAL_CAPTIONS = "captions.partial.jsonl"
SCORES = "scores.json"
REPLICATES = "resampled.safetensors"
# in a model's folder, beside the captioner's own files
KEY = MODEL_KEY
TRAINING = "training.ckpt"
EPOCHS = "epochs.csv"
LAST = "last"
LAST_GOOD = "last_good"
# beside the files that several processes share
LOCKS = ".locks"


class StudyFolder:
    """The files and folders of a study.

    Attributes:
        config: The study, the versions it ran with and the digest of its data.
        scores: The rows of all finished cells and of the baselines.
        test: The test images with their references.
        captions: The captions of all cells.
        analysis: The rows of the table with intervals, which are slow to compute.
        pairs: The comparisons of all pairs of rows, which are many.
        table: The table as Markdown.
        contact_sheet: Test images with their captions.
        timings: How long each piece of work took.
        features: A folder per encoder.
        models: A folder per trained model.
        cells: A folder per model and decoder.
        baselines: A folder per baseline.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / CONFIG
        self.scores = path / SCORES
        self.test = path / "test.jsonl"
        self.captions = path / CAPTIONS
        self.analysis = path / "analysis.json"
        self.pairs = path / "pairs.safetensors"
        self.table = path / "table.md"
        self.contact_sheet = path / "grid.png"
        self.timings = path / "timings.jsonl"
        self.features = path / "features"
        self.models = path / MODELS
        self.cells = path / "cells"
        self.baselines = path / "baselines"

    def find_config(self) -> dict[str, Any] | None:
        """Return the content of `config.json`, or None if the folder holds nothing yet.

        Raises:
            AlteredError: If the study's `config.json` was altered.
            PrefixcapError: If the folder holds a single model, or a study of another format.
        """
        try:
            config = read_json(self.config)
        except AlteredError as error:
            config = read_before_seals(self.config, FORMAT)
            if config is None:
                if self.models.exists() or self.test.exists():
                    raise
                cure = "choose another folder"
                raise PrefixcapError(str(AlteredError(error.path, error.reason, cure))) from None
        if config is None:
            return None
        if not is_study(config):
            raise PrefixcapError(
                f"{self.path} holds a single model, not a study: choose another folder"
            )
        if config.get("format") != FORMAT:
            raise PrefixcapError(
                f"{self.path} is a study of format {config.get('format')!r}, and this version of "
                f"prefixcap uses format {FORMAT}: choose another folder, or use the version that "
                "wrote it"
            )
        return config

    def read_config(self) -> dict[str, Any]:
        """Return the content of `config.json`.

        Raises:
            AlteredError: If the study's `config.json` was altered.
            PrefixcapError: If there is no study in the folder, or one of another format.
        """
        if not self.path.is_dir():
            problem = "is a file, not a folder" if self.path.exists() else "there is no such folder"
            raise PrefixcapError(f"{self.path}: {problem}")
        config = self.find_config()
        if config is None:
            raise PrefixcapError(f"{self.path} holds no study: it has no {CONFIG}")
        if found := mismatch(config, STUDY_CONFIG):
            raise AlteredError(self.config, found)
        return config


@attrs.frozen
class StudyJob:
    """A study in its folder, as one process works on it, on a device that is not "auto".

    `timed` is whether the folder records the times of work, for estimates, and `events` are sent
    what happens.
    """

    study: Study
    files: StudyFolder = attrs.field(converter=StudyFolder)
    reporter: Reporter = attrs.field(factory=Silent)
    timed: bool = True
    events: Events = attrs.field(factory=Events)
    device: str = attrs.field(init=False)

    @device.default
    def _device(self) -> str:
        return device_named(self.study.device)
