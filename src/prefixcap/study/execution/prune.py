"""What a study's folder holds, what of it the study uses, and how to be rid of the rest."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import attrs

from prefixcap.errors import PrefixcapError
from prefixcap.study.artifacts import features as features_module
from prefixcap.study.artifacts import keys, models
from prefixcap.study.artifacts.folder import CELL, KEY, PARTIAL_CAPTIONS, TRAINING, StudyFolder
from prefixcap.study.artifacts.keys import InputDigests, in_order, places
from prefixcap.study.artifacts.locks import locked
from prefixcap.study.definition.study import Study
from prefixcap.study.execution import data
from prefixcap.util.files import read_json
from prefixcap.util.runtime import cache_dir, device_named

KINDS = ("features", "models", "cells", "baselines")
USED, UNUSED, LEFTOVER = "used", "unused", "leftover"

_TEMPORARY = re.compile(r"\..+\.(\d+)(\.tmp)?")


@attrs.frozen(kw_only=True)
class Artifact:
    """Something that is kept.

    Attributes:
        kind: one of `KINDS`, or what the user's cache calls it.
        path: the file or folder.
        size: its bytes.
        state: "used" by the study, "unused", or "leftover" of something that was broken off.
    """

    kind: str
    path: Path
    size: int
    state: str

    def to_json(self) -> dict[str, Any]:
        """Returns the artifact as JSON data."""
        return {
            "kind": self.kind,
            "path": str(self.path),
            "bytes": self.size,
            "state": self.state,
        }


def of_study(folder: Path, study: Study | None = None) -> list[Artifact]:
    """Lists what a study's folder holds.

    The encoders and the language models are loaded, since their weights decide what is used.

    Args:
        folder: the study's folder.
        study: the study to keep everything of; the one that was last run in the folder unless
            given.

    Raises:
        PrefixcapError: there is no study in the folder, or something of it cannot be loaded.
    """
    config = StudyFolder(folder).read_config()
    used = _used(folder, study or Study.from_json(config), None if study else config)
    found = []
    for kind in KINDS:
        for path in _entries(folder / kind, deep=kind == "features"):
            found.append(_artifact(kind, path, USED if path in used else UNUSED))
    inside = {artifact.path for artifact in found if artifact.state == UNUSED}
    return found + [
        _artifact(kind, path, LEFTOVER)
        for kind, path in _leftovers(folder)
        if path.parent not in inside
    ]


def of_user() -> list[Artifact]:
    """Lists the user's cache: what is made once and used by every study, such as converted GGUF."""
    root = cache_dir()
    found = []
    for kind in sorted(path for path in root.glob("*") if path.is_dir()):
        for path in sorted(kind.iterdir()):
            if path.name != ".locks":
                dead = bool(_TEMPORARY.fullmatch(path.name)) and not _alive(path)
                found.append(_artifact(kind.name, path, LEFTOVER if dead else USED))
    return found


def prune(artifacts: Sequence[Artifact]) -> None:
    """Deletes artifacts, each while no other process makes it.

    Raises:
        PrefixcapError: one cannot be deleted.
    """
    for artifact in artifacts:
        path = artifact.path
        try:
            # nobody writes a leftover any more
            with nullcontext() if artifact.state == LEFTOVER else locked(path):
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
        except OSError as error:
            raise PrefixcapError(f"{path} cannot be deleted: {error.strerror}") from error


def _used(folder: Path, study: Study, config: dict[str, Any] | None) -> set[Path]:
    """Returns what a study uses; `config` is the folder's, where the study is the folder's own."""
    device = device_named(study.device)
    # captions are of the device that they were made on, which need not be here
    ran_on = str((config or {}).get("ran_on", device))
    loaded = data.load(study)
    found: set[Path] = set()
    language_models = {
        number: models.lm_key(lm.build(device, study.dtype)) for number, lm in enumerate(study.lms)
    }
    for encoder in study.encoders:
        features = features_module.Features.of_study(
            study, folder, encoder, encoder.build(device), loaded.dataset
        )
        splits = [loaded.train, loaded.val, loaded.test]
        found |= features.files(example for split in splits for example in split)
        train, val, test = map(features.known_readable, splits)
        for number, lm in enumerate(study.lms):
            made = InputDigests(
                training=keys.training_key(features, train, val),
                test=keys.test_key(features, test),
                references=keys.references_key(test),
                lm=language_models[number],
            )
            for place in places(study, folder, ran_on, encoder, lm, made, here=device):
                found.add(place.folder)
                found |= {cell.folder for cell in in_order([place])}
    if study.baselines:
        found |= _baselines(folder, exact=config is not None)
    return found


def _baselines(folder: Path, *, exact: bool) -> set[Path]:
    """Returns the baselines that the folder's results name; all where another study is asked for.

    What they are follows from captions, so it is not known before these are made.
    """
    rows = (read_json(StudyFolder(folder).scores) or {}).get("baselines", [])
    if not exact or not rows:
        return set(_entries(folder / "baselines", deep=False))
    return {folder / "baselines" / row["cell"] for row in rows if "cell" in row}


def _entries(folder: Path, *, deep: bool) -> Iterator[Path]:
    """Gives the artifacts of a folder, or the files in its folders."""
    for path in sorted(folder.glob("*")):
        if path.name.startswith("."):
            continue
        if deep and path.is_dir():
            yield from _entries(path, deep=False)
        else:
            yield path


def _leftovers(folder: Path) -> Iterator[tuple[str, Path]]:
    """Finds what was broken off: temporary files of dead processes, and states no longer needed."""
    for kind in KINDS:
        for path in sorted((folder / kind).rglob(".*")):
            if path.name.endswith(".tmp") and not _alive(path):
                yield kind, path
    for path in sorted((folder / "models").glob(f"*/{TRAINING}")):
        if (path.parent / KEY).exists():
            yield "models", path
    for path in sorted((folder / "cells").glob(f"*/{PARTIAL_CAPTIONS}")):
        if (path.parent / CELL).exists():
            yield "cells", path
    for path in sorted(folder.glob(".*.tmp")):
        if not _alive(path):
            yield "study", path


def _alive(path: Path) -> bool:
    """Says whether the process that a temporary file is named after still runs."""
    match = _TEMPORARY.fullmatch(path.name)
    if match is None:
        return True
    try:
        os.kill(int(match[1]), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it is another user's
        return True
    return True


def _artifact(kind: str, path: Path, state: str) -> Artifact:
    return Artifact(kind=kind, path=path, size=_size([path]), state=state)


def _size(paths: Iterable[Path]) -> int:
    size = 0
    for path in paths:
        size += _size(path.iterdir()) if path.is_dir() else path.lstat().st_size
    return size
