"""Finds the one model that a folder holds."""

from __future__ import annotations

from pathlib import Path

from prefixcap.errors import PrefixcapError
from prefixcap.study.store import read_json


def model_folder(run: Path) -> Path:
    """Returns the folder of a run's model: itself, or a study's only model.

    Raises:
        PrefixcapError: the run does not exist, or holds no model or more than one.
    """
    if not run.is_dir():
        raise PrefixcapError(f"--run {run}: there is no such folder")
    config = read_json(run / "config.json")
    if config is None or config.get("kind") != "study":
        return run
    found = sorted(path.parent for path in (run / "models").glob("*/key.json"))
    if not found:
        raise PrefixcapError(f"--run {run}: no model of this study is trained yet")
    if len(found) > 1:
        names = ", ".join(str(path) for path in found)
        raise PrefixcapError(f"--run {run} holds {len(found)} models; choose one: {names}")
    return found[0]
