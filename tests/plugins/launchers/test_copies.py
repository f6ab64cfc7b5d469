"""Copies of a folder's files, as workers without the folder have them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs
import pytest
from cli_world import outcome
from hypothesis import given, settings
from hypothesis import strategies as st
from prefixcap_launchers.copies import Folder, FolderCopy
from typing_extensions import override

from prefixcap.interfaces.launching.launcher import Done, Launcher, Start, Work, WorkQueue
from prefixcap.study.artifacts import features
from prefixcap.study.artifacts.folder import StudyJob
from prefixcap.study.definition.study import Study
from prefixcap.study.execution.launching import works
from prefixcap.study.execution.runner import Runner, run_study

CELL = Work(name="cell", needs=("models/a", "cells/b"), makes=("cells/b",), appends=("times",))
PART = Work(name="part", needs=("cells/b",), appends=("cells/b/partial", "times"))
NAMES = ("one", "two", "below/three", "partial")


def content(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@settings(max_examples=40, deadline=None)
@given(
    turns=st.lists(
        st.tuples(
            st.integers(0, 1),
            st.dictionaries(st.sampled_from(NAMES), st.none() | st.binary(max_size=4), max_size=3),
        ),
        max_size=6,
    )
)
def test_copies_are_what_the_folder_would_be(
    turns: list[tuple[int, dict[str, bytes | None]]],
) -> None:
    """Two workers with copies take turns to write and delete files, and one without a copy."""
    with TemporaryDirectory() as place:
        folders = [Path(place) / name for name in ("original", "copy", "other", "alone")]
        original, *copied, alone = folders
        for folder in folders:
            folder.mkdir()
        copies = [FolderCopy(Folder(str(original)), Folder(str(folder))) for folder in copied]
        for number, (who, changes) in enumerate(turns):
            copies[who].fetch(CELL)
            assert content(copied[who] / "cells").items() == content(alone / "cells").items()
            for folder in (copied[who], alone):
                for name, new in changes.items():
                    path = folder / "cells" / "b" / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.unlink(missing_ok=True)
                    if new is not None:
                        path.write_bytes(new)
                with (folder / "times").open("a") as file:
                    file.write(f"{number}\n")
            copies[who].send(CELL)
            assert content(original) == content(alone)


def test_lines_of_two_workers_are_kept(tmp_path: Path) -> None:
    original = Folder(str(tmp_path / "original"))
    copies = [FolderCopy(original, Folder(str(tmp_path / name))) for name in ("one", "two")]
    path = "cells/b/partial"
    original.append(path, b"before\n")
    for copy in copies:
        copy.fetch(PART)
        assert copy.folder.read(path) == b"before\n"
    for number, copy in enumerate(copies):
        copy.folder.append(path, f"line {number}\n".encode())
    for copy in copies:
        copy.send(PART)
    assert original.read(path) == b"before\nline 0\nline 1\n"
    # the next work begins with the lines of both, and adds only its own
    copies[0].fetch(PART)
    copies[0].folder.append(path, b"line 2\n")
    copies[0].send(PART)
    assert original.read(path) == b"before\nline 0\nline 1\nline 2\n"


class InTurn(Launcher):
    """Workers with copies, in this process, that take turns."""

    workers = 2
    copies = True

    def __init__(self, place: Path) -> None:
        self._place = place
        self.works: list[str] = []

    @override
    def run(self, start: Start, works: Sequence[Work], done: Done) -> list[Work]:
        queue, last, turn = WorkQueue(works, done), dict[int, Work](), 0
        places = [str(self._place / f"{n}") for n in range(self.workers)]
        copies = [FolderCopy(Folder(start.folder), Folder(place)) for place in places]
        workers = [attrs.evolve(start, folder=place)() for place in places]
        while work := queue.take(last.get(turn)):
            copies[turn].fetch(work)
            result = workers[turn](work)
            copies[turn].send(work)
            queue.finish(work, result)
            last[turn], turn = work, 1 - turn
            self.works.append(work.name.split()[0])
        return queue.left


def test_a_study_on_copies_is_that_of_one_process(
    grid: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers encode a part of the images each, and share the images of cells."""
    monkeypatch.setattr(features, "CHUNK", 8)
    monkeypatch.setattr(works, "SHARD", 4)
    run_study(grid, tmp_path / "alone")
    launcher = InTurn(tmp_path)
    results = Runner(StudyJob(grid, tmp_path / "study")).run(launcher)
    assert launcher.works == ["encode"] * 2 + ["train"] * 2 + ["images"] * 8 + ["cell"] * 4
    assert results.work["trained_models"] == 2
    assert results.work["encoded_images"] == 30 + 6 + 8
    assert outcome(tmp_path / "study") == outcome(tmp_path / "alone")


def test_only_what_changed_is_copied(tmp_path: Path) -> None:
    class Counting(Folder):
        """A folder that notes what is read and written."""

        read_paths: list[str]
        written: list[str]

        def read(self, path: str) -> bytes:
            self.read_paths.append(path)
            return super().read(path)

        def write(self, path: str, content: bytes) -> tuple[int, int]:
            self.written.append(path)
            return super().write(path, content)

    original = Counting(str(tmp_path / "original"))
    original.read_paths, original.written = [], []
    for name in ("models/a/weights", "models/a/.locks/lock", "models/c/weights"):
        Folder.write(original, name, b"1")
    copy = FolderCopy(original, Folder(str(tmp_path / "copy")))
    for _ in range(2):
        copy.fetch(CELL)
        copy.send(CELL)
    assert original.read_paths == ["models/a/weights"]
    copy.folder.write("cells/b/cell.json", b"2")
    copy.send(CELL)
    copy.fetch(CELL)
    copy.send(CELL)
    assert original.written == ["cells/b/cell.json"]
    assert original.read_paths == ["models/a/weights"]
