"""Check that what a study's results name is in its folder and as it was written."""

from __future__ import annotations

import contextlib
import itertools
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import file_digest
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from prefixcap.captioning.checkpoint import CONFIG, MODELS
from prefixcap.errors import PrefixcapError, PrefixcapWarning
from prefixcap.study.artifacts.folder import (
    CAPTIONS,
    CELL,
    REPLICATES,
    SCORES,
    StudyFolder,
    StudyJob,
)
from prefixcap.util.files import (
    AlteredError,
    checked_line,
    parse_checked,
    read_bytes,
    read_json,
    read_sealed,
    write_text,
)

MOST = 2**30
"""If the files have more bytes together, each is checked when it is read."""


def check_names(files: StudyFolder, rows: Iterable[Mapping[str, Any]]) -> None:
    """Check that the cells and models of rows are in the study's folder.

    Raises:
        PrefixcapError: If one is not.
    """
    for row in rows:
        folder, _, model = str(row.get("model", f"{MODELS}/model")).rpartition("/")
        for name in (row.get("cell", "cell"), model):
            if folder != MODELS or not is_name(name):
                raise PrefixcapError(
                    f"{files.scores}: {row.get('cell')!r} of {row.get('model')!r} is not in the "
                    "study's folder"
                )


def check_files(
    files: StudyFolder,
    rows: Sequence[Mapping[str, Any]],
    baselines: Sequence[Mapping[str, Any]],
    captions_digest: str | None = None,
) -> None:
    """Check the files of all cells, baselines and models that the results name.

    `captions_digest` is the SHA-256 of the study's `captions.jsonl`, if that is to be checked.

    Weights and features are not read; neither are files that no longer exist. Replicates that were
    altered are deleted with a warning, as they are computed again where they are needed.

    Raises:
        AlteredError: If a file was altered.
    """
    cells = [files.cells / row["cell"] for row in rows]
    cells += [files.baselines / row["cell"] for row in baselines if "cell" in row]
    paths = [folder / name for folder in cells for name in (CELL, CAPTIONS, SCORES, REPLICATES)]
    paths += [files.path / model / CONFIG for model in {row["model"] for row in rows}]
    paths += [files.captions] if captions_digest else []
    paths = sorted(path for path in paths if path.is_file())
    if sum(path.stat().st_size for path in paths) > MOST:
        return
    with ThreadPoolExecutor() as pool:  # hashing does not hold Python's lock
        digests = {files.captions: captions_digest}
        found = pool.map(lambda path: _altered(path, digests.get(path)), paths)
        altered = [error for error in found if error is not None]
    for error in altered:
        if error.path.name != REPLICATES:
            raise error
        warnings.warn(error.remade, PrefixcapWarning, stacklevel=3)
        with contextlib.suppress(OSError):  # a folder that can only be read
            error.path.unlink()


def report_altered(job: StudyJob) -> None:
    """Tell which of the study's own files were altered; a run writes all of them again.

    Raises:
        PrefixcapError: If the folder holds a single model, or a study of another format.
    """
    for error in _altered_outputs(job.files):
        job.reporter.message(error.remade)
    path = job.files.timings
    content = read_bytes(path) or b""
    text = "".join(map(checked_line, parse_checked(content)[0]))
    if text.encode() != content:
        job.reporter.message(
            f"{path} was altered after it was written: the altered lines are removed"
        )
        write_text(path, text)


def _altered_outputs(files: StudyFolder) -> Iterator[AlteredError]:
    data: dict[Path, dict[str, Any]] = {}
    for path in (files.config, files.scores):
        try:
            data[path] = (files.find_config() if path == files.config else read_json(path)) or {}
        except AlteredError as error:
            yield error
    digests: dict[Path, str | None] = {files.analysis: None, files.pairs: None}
    config, saved = data.get(files.config, {}), data.get(files.scores, {})
    # otherwise the files of lines may be those of a study that was stopped before its scores
    if config.get("study") == saved.get("study"):
        known = saved.get("digests", {})
        digests |= {p: known[p.name] for p in (files.test, files.captions) if p.name in known}
    yield from filter(None, itertools.starmap(_altered, digests.items()))


def _altered(path: Path, digest: str | None) -> AlteredError | None:
    """Return what is wrong with a file, which has this SHA-256, that in `cell.json`, or a seal."""
    try:
        if digest:
            _check_lines(path, digest)
        elif path.name == CAPTIONS:
            _check_lines(path, (read_json(path.with_name(CELL)) or {}).get("captions_sha256"))
        else:
            read_sealed(path)
    except AlteredError as error:
        return error
    return None


def _check_lines(path: Path, digest: str | None) -> None:
    """Check a file of JSON lines by its SHA-256, if it exists."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        if file_digest(file, "sha256").hexdigest() != digest:
            raise AlteredError(path, "its SHA-256 differs")


def is_name(name: object) -> bool:
    """Return whether a text names a file in a folder, on any operating system."""
    return isinstance(name, str) and all(
        path(name).parts == (name,) and name != ".." for path in (PurePosixPath, PureWindowsPath)
    )
