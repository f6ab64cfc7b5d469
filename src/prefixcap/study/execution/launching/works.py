"""The pieces of a study's work that a launcher hands to its workers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.launching.launcher import Launcher, Work
from prefixcap.study.artifacts.folder import PARTIAL_CAPTIONS, StudyJob
from prefixcap.study.artifacts.keys import PlannedCell, PlannedModel
from prefixcap.study.execution.launching.worker import Doer, StartWorker, StudyWork, Task, WorkDone
from prefixcap.util.progress import ProgressTask

SHARD = 500
"""The fewest images of a cell that are worth a piece of work of their own."""


class StudyLaunch:
    """The work of a study on several workers, as far as they do it.

    Args:
        job: The study and its folder.
        launcher: The launcher.
        make: Creates what does the work in a worker's process.
        prepare: Called once all images are encoded; returns the planned models.
        missing: Returns how many images of a cell have no captions; None if it is finished.
    """

    def __init__(
        self,
        job: StudyJob,
        launcher: Launcher,
        make: Callable[[StudyJob], Doer],
        prepare: Callable[[], Sequence[PlannedModel]],
        missing: Callable[[PlannedCell], int | None],
    ) -> None:
        self._job, self._launcher, self._make = job, launcher, make
        self._prepare, self._missing = prepare, missing
        self._models: dict[str, PlannedModel] | None = None
        self._parts: dict[str, int] = {}  # pieces of work that are left of a cell's images
        self._cells: dict[str, PlannedCell] = {}
        self._task: ProgressTask | None = None
        self._finished = self._total = 0
        self.counts: dict[str, int] = {}
        self.diverged: dict[Path, str] = {}

    def run(self) -> None:
        """Do all work that is missing; the caller does what is left, and collects the results.

        Raises:
            PrefixcapError: If something in the study or its data is wrong.
        """
        count = self._launcher.workers
        if not count:
            return
        import torch

        start = StartWorker(
            make=self._make,
            study=self._job.study.to_json(),
            folder=str(self._job.files.path.resolve()),
            threads=torch.get_num_threads(),
        )
        # workers that see each other's features divide the images as they go
        task: Task = "encode" if self._launcher.copies else "prepare"
        works = [self._work(task, number=n, count=count) for n in range(count)]
        self._encoding = count if self._launcher.copies else 0
        self._workers = count
        with contextlib.ExitStack() as self._stack:
            self._launcher.run(start, works, self._done)

    def _done(self, work: Work, result: Any) -> Sequence[Work]:
        assert isinstance(work, StudyWork)
        assert isinstance(result, WorkDone)
        if result.error:
            raise PrefixcapError(result.error)
        if self._task is not None:
            self._finished += 1
            self._task.update(min(self._finished, self._total))
        for name, count in result.counts.items():
            self.counts[name] = self.counts.get(name, 0) + count
        if work.task == "encode":
            self._encoding -= 1
        if work.task in ("prepare", "encode") and not self._encoding:
            return self._first() if self._models is None else ()
        if work.task == "train":
            return self._trained(work.target, result.diverged)
        if work.task == "images":
            self._parts[work.target] -= 1
            return () if self._parts[work.target] else [self._cell(self._cells[work.target])]
        return ()

    def _first(self) -> list[Work]:
        """Return the works that are possible once all images are encoded."""
        self._models = {model.folder.name: model for model in self._prepare()}
        works: list[Work] = []
        for name, model in self._models.items():
            if model.is_trained:
                works += self._of_cells(model)
            else:
                works.append(self._work("train", name, name))
        later = [
            cell for model in self._models.values() if not model.is_trained for cell in model.cells
        ]
        self._total = len(works) + len(later) + len(self._parts)
        task = self._job.reporter.task("pieces of work", self._total, "pieces")
        self._task = self._stack.enter_context(task)
        return works

    def _trained(self, name: str, diverged: str) -> list[Work]:
        assert self._models is not None
        model = self._models[name]
        if diverged:
            self.diverged[model.folder] = diverged
            return []
        return self._of_cells(model)

    def _of_cells(self, model: PlannedModel) -> list[Work]:
        return [work for cell in model.cells for work in self._of_cell(cell)]

    def _of_cell(self, cell: PlannedCell) -> Iterator[Work]:
        """Yield the works of a cell: parts of its images if they are many, otherwise itself."""
        missing = self._missing(cell)
        if missing is None:
            return
        count = min(self._workers, missing // SHARD)
        if count < 2 or cell.decoder.batch_dependent():
            yield self._cell(cell)
            return
        self._parts[cell.name], self._cells[cell.name] = count, cell
        model = cell.model_folder.name
        for number in range(count):
            yield self._work("images", cell.name, model, number=number, count=count)

    def _cell(self, cell: PlannedCell) -> StudyWork:
        return self._work("cell", cell.name, cell.model_folder.name)

    def _work(
        self, task: Task, target: str = "", model: str = "", *, number: int = 0, count: int = 1
    ) -> StudyWork:
        files = self._job.files

        def names(*paths: Path) -> tuple[str, ...]:
            return tuple(path.relative_to(files.path).as_posix() for path in paths)

        folder, cell = files.models / model, files.cells / target
        made = {"encode": files.features, "train": folder, "cell": cell}
        added = {"images": (cell / PARTIAL_CAPTIONS,)}
        read: dict[str, tuple[Path, ...]] = {"prepare": (), "encode": (), "train": (folder,)}
        return StudyWork(
            name=" ".join(filter(None, (task, target, f"{number} of {count}"))),
            task=task,
            target=target,
            part=(number, count),
            group=model,
            needs=names(files.features, *read.get(task, (folder, cell))),
            makes=names(made[task]) if task in made else (),
            appends=names(files.timings, *added.get(task, ())),
        )
