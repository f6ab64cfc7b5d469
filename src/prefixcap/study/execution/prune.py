"""List the artifacts of a study or of the user's cache, and delete unused ones.

Symbolic links are not followed: a link may be deleted, but nothing that it leads to.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs

from prefixcap.errors import PrefixcapError
from prefixcap.study.artifacts import integrity
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
from prefixcap.study.artifacts.shapes import STUDY_SCORES
from prefixcap.study.definition.study import Study
from prefixcap.study.execution import data, encoding, grid
from prefixcap.util.files import read_json
from prefixcap.util.runtime import cache_dir
from prefixcap.util.storage.temporary import is_abandoned, remove_abandoned, temporary_files

USED, UNUSED, LEFTOVER, LINK = "used", "unused", "leftover", "link"


@attrs.frozen(kw_only=True)
class Artifact:
    """A stored file or folder.

    Attributes:
        kind: The name of the folder that holds it, such as "models".
        size: In bytes.
        state: "used" by the study, "unused", "leftover" from a process that was killed, or "link"
            if it is a symbolic link where a folder of artifacts belongs.
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
    links = [path for path in _parents(files) if path.is_symlink()]
    artifacts += [Artifact.of("study", path, LINK) for path in links]
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
        if folder.is_symlink():
            artifacts.append(Artifact.of("cache", folder, LINK))
            continue
        for path in sorted(folder.iterdir()):
            if path.name != LOCKS:
                state = LEFTOVER if is_abandoned(path) else USED
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
            if artifact.state == LEFTOVER:  # no process writes it any more
                _delete(path)
            elif artifact.state != LINK:
                with locked(path):
                    _delete(path)
        except OSError as error:
            raise PrefixcapError(f"{path} cannot be deleted: {error.strerror}") from error


def remove_leftovers(files: StudyFolder) -> None:
    """Remove the temporary files that killed processes left in a study's folder."""
    remove_abandoned(_temporary(files))


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _used(job: StudyJob, config: dict[str, Any] | None) -> set[Path]:
    """Return what a study uses; `config` is the folder's own if the study is."""
    splits = data.load(job.study)
    opened = encoding.open_features(job, splits)
    images = [encoding.known_images(features, splits) for features in opened]
    used: set[Path] = set()
    for each in images:
        for examples in splits.splits.values():
            used |= each.features.shards(examples)
            used |= each.texts.shards(examples) if each.texts else set()
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
    saved = read_json(files.scores, STUDY_SCORES) or {}
    rows = saved.get("baselines", [])
    integrity.check_names(files, (*saved.get("rows", []), *rows))
    if not exact or not rows:
        return set(_entries(files.baselines))
    return {files.baselines / row["cell"] for row in rows if "cell" in row}


def _parents(files: StudyFolder) -> tuple[Path, ...]:
    return files.features, files.models, files.cells, files.baselines


def _entries(folder: Path, pattern: str = "*") -> list[Path]:
    """Return what is in a folder, but not below links."""
    paths = sorted(folder.glob(pattern)) if not folder.is_symlink() else []
    below = [path for path in paths if path.parent == folder or not path.parent.is_symlink()]
    return [path for path in below if not path.name.startswith(".")]


def _temporary(files: StudyFolder) -> list[Path]:
    own = [path for path in files.path.glob(".*.tmp") if path.is_file()]
    folders = [path for path in _parents(files) if not path.is_symlink()]
    return sorted([*own, *(path for folder in folders for path in temporary_files(folder))])


def _leftovers(files: StudyFolder) -> Iterator[tuple[str, Path]]:
    """Yield temporary files of dead processes, and training states that are no longer needed."""
    for path in _temporary(files):
        if is_abandoned(path):
            (kind, *rest) = path.relative_to(files.path).parts
            yield (kind if rest else "study"), path
    states = (files.models, TRAINING, KEY), (files.cells, PARTIAL_CAPTIONS, CELL)
    for parent, state, complete in states:
        for path in _entries(parent, f"*/{state}"):
            if (path.parent / complete).exists():
                yield parent.name, path


def _size(paths: Iterable[Path]) -> int:
    return sum(
        _size(path.iterdir()) if path.is_dir() and not path.is_symlink() else path.lstat().st_size
        for path in paths
    )
