"""List the artifacts of a study or of the user's cache, and delete unused ones."""

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
from prefixcap.study.artifacts.folder import (
    CELL,
    KEY,
    LOCKS,
    PARTIAL_CAPTIONS,
    TRAINING,
    StudyFolder,
    StudyJob,
)
from prefixcap.study.artifacts.locks import locked
from prefixcap.study.definition.study import Study
from prefixcap.study.execution import data, encoding, grid
from prefixcap.util.files import read_json
from prefixcap.util.runtime import cache_dir

USED, UNUSED, LEFTOVER = "used", "unused", "leftover"

_TEMPORARY = re.compile(r"\..+\.(\d+)(\.tmp)?")


@attrs.frozen(kw_only=True)
class Artifact:
    """A stored file or folder.

    Attributes:
        kind: The name of the folder that holds it, such as "models".
        size: In bytes.
        state: "used" by the study, "unused", or "leftover" from a process that was killed.
    """

    kind: str
    path: Path
    size: int
    state: str

    @classmethod
    def of(cls, kind: str, path: Path, state: str) -> Artifact:
        """Measure a file or folder."""
        return cls(kind=kind, path=path, size=_size([path]), state=state)

    def to_json(self) -> dict[str, Any]:
        """Return the artifact as JSON data."""
        kind, path, size, state = attrs.astuple(self)
        return {"kind": kind, "path": str(path), "bytes": size, "state": state}


def of_study(folder: Path, study: Study | None = None) -> list[Artifact]:
    """List what a study's folder holds, and whether `study`, or the last one run there, uses it.

    Encoders and language models are loaded, since their weights decide what is used.

    Raises:
        PrefixcapError: If there is no study in the folder, or a component cannot be loaded.
    """
    config = StudyFolder(folder).read_config()
    job = StudyJob(study or Study.from_json(config), folder)
    files, used = job.files, _used(job, None if study else config)
    artifacts = []
    for parent in _parents(files):
        for path in _entries(parent, "*/*" if parent == files.features else "*"):
            artifacts.append(Artifact.of(parent.name, path, USED if path in used else UNUSED))
    unused = {artifact.path for artifact in artifacts if artifact.state == UNUSED}
    return artifacts + [
        Artifact.of(kind, path, LEFTOVER)
        for kind, path in _leftovers(files)
        if path.parent not in unused
    ]


def of_user() -> list[Artifact]:
    """List the user's cache, which all studies share: for example, converted GGUF files."""
    artifacts = []
    for folder in sorted(path for path in cache_dir().glob("*") if path.is_dir()):
        for path in sorted(folder.iterdir()):
            if path.name != LOCKS:
                state = LEFTOVER if _is_abandoned(path) else USED
                artifacts.append(Artifact.of(folder.name, path, state))
    return artifacts


def prune(artifacts: Sequence[Artifact]) -> None:
    """Delete artifacts, each while no other process writes it.

    Raises:
        PrefixcapError: If one cannot be deleted.
    """
    for artifact in artifacts:
        path = artifact.path
        try:
            # no process writes a leftover any more
            with nullcontext() if artifact.state == LEFTOVER else locked(path):
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
        except OSError as error:
            raise PrefixcapError(f"{path} cannot be deleted: {error.strerror}") from error


def _used(job: StudyJob, config: dict[str, Any] | None) -> set[Path]:
    """Return what a study uses; `config` is the folder's own if the study is."""
    splits = data.load(job.study)
    opened = encoding.open_features(job, splits)
    images = [encoding.known_images(features, splits) for features in opened]
    used: set[Path] = set()
    for each in images:
        for examples in splits.splits.values():
            used |= each.features.shards(examples)
    # captions belong to the device that made them, which this machine need not have
    decoded_on = str((config or {}).get("ran_on", job.device))
    for group in grid.resolve(job, images, decoded_on=decoded_on):
        used |= {model.folder for model in group.models}
        used |= {cell.folder for cell in group.cells}
    if job.study.baselines:
        used |= _baselines(job.files, exact=config is not None)
    return used


def _baselines(files: StudyFolder, *, exact: bool) -> set[Path]:
    """Return the baselines that the folder's results name; all of them for another study.

    The key of a baseline depends on captions and is unknown before these exist.
    """
    rows = (read_json(files.scores) or {}).get("baselines", [])
    if not exact or not rows:
        return set(_entries(files.baselines))
    return {files.baselines / row["cell"] for row in rows if "cell" in row}


def _parents(files: StudyFolder) -> tuple[Path, ...]:
    return files.features, files.models, files.cells, files.baselines


def _entries(folder: Path, pattern: str = "*") -> list[Path]:
    return [path for path in sorted(folder.glob(pattern)) if not path.name.startswith(".")]


def _leftovers(files: StudyFolder) -> Iterator[tuple[str, Path]]:
    """Yield temporary files of dead processes, and training states that are no longer needed."""
    temporary = [(p.name, path) for p in _parents(files) for path in sorted(p.rglob(".*.tmp"))]
    temporary += [("study", path) for path in sorted(files.path.glob(".*.tmp"))]
    yield from ((kind, path) for kind, path in temporary if _is_abandoned(path))
    states = (files.models, TRAINING, KEY), (files.cells, PARTIAL_CAPTIONS, CELL)
    for parent, state, complete in states:
        for path in sorted(parent.glob(f"*/{state}")):
            if (path.parent / complete).exists():
                yield parent.name, path


def _is_abandoned(path: Path) -> bool:
    """Return whether a path is a temporary file of a process that no longer runs."""
    match = _TEMPORARY.fullmatch(path.name)
    if match is None:
        return False
    try:
        os.kill(int(match[1]), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:  # the process of another user
        return False
    return False


def _size(paths: Iterable[Path]) -> int:
    return sum(_size(path.iterdir()) if path.is_dir() else path.lstat().st_size for path in paths)
