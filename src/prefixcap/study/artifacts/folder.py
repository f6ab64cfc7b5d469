"""The files and folders of a study, and whether a folder holds one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs

from prefixcap.captioning.checkpoint import CONFIG, MODEL_KEY, MODELS, is_study
from prefixcap.errors import PrefixcapError
from prefixcap.study.definition.study import FORMAT
from prefixcap.util.files import read_json

# in a cell's or a baseline's folder
CELL = "cell.json"
CAPTIONS = "captions.jsonl"
PARTIAL_CAPTIONS = "captions.partial.jsonl"
SCORES = "scores.json"
REPLICATES = "resampled.safetensors"
# in a model's folder, beside the captioner's own files
KEY = MODEL_KEY
TRAINING = "training.ckpt"
# beside whatever several processes share
LOCKS = ".locks"


@attrs.frozen
class StudyFolder:
    """The files and folders of a study.

    Args:
        path: The folder, which need not exist.
    """

    path: Path

    @property
    def config(self) -> Path:
        """The study, the versions it ran with and the digest of its data."""
        return self.path / CONFIG

    @property
    def scores(self) -> Path:
        """The rows of all finished cells and of the baselines."""
        return self.path / SCORES

    @property
    def test(self) -> Path:
        """The test images with their references."""
        return self.path / "test.jsonl"

    @property
    def captions(self) -> Path:
        """The captions of all cells."""
        return self.path / CAPTIONS

    @property
    def analysis(self) -> Path:
        """Intervals and comparisons, which are slow to compute."""
        return self.path / "analysis.json"

    @property
    def table(self) -> Path:
        """The table as Markdown."""
        return self.path / "table.md"

    @property
    def contact_sheet(self) -> Path:
        """Test images with their captions."""
        return self.path / "grid.png"

    @property
    def timings(self) -> Path:
        """How long each piece of work took."""
        return self.path / "timings.jsonl"

    @property
    def features(self) -> Path:
        """A folder per encoder."""
        return self.path / "features"

    @property
    def models(self) -> Path:
        """A folder per trained model."""
        return self.path / MODELS

    @property
    def cells(self) -> Path:
        """A folder per model and decoder."""
        return self.path / "cells"

    @property
    def baselines(self) -> Path:
        """A folder per baseline."""
        return self.path / "baselines"

    def find_config(self) -> dict[str, Any] | None:
        """Return the content of `config.json`, or None if the folder holds nothing yet.

        Raises:
            PrefixcapError: If the folder holds a single model, or a study of another format.
        """
        config = read_json(self.config)
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
            PrefixcapError: If there is no study in the folder, or one of another format.
        """
        if not self.path.is_dir():
            raise PrefixcapError(f"{self.path}: there is no such folder")
        config = self.find_config()
        if config is None:
            raise PrefixcapError(f"{self.path} holds no study: it has no {CONFIG}")
        return config
