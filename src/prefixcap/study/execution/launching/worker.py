"""A worker that does pieces of a study's work in the study's folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import attrs
from typing_extensions import override

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.launching.launcher import Start, Work
from prefixcap.plugin.registry import default_registry
from prefixcap.study.artifacts.folder import StudyJob
from prefixcap.study.definition.study import Study

Task: TypeAlias = Literal["prepare", "encode", "train", "images", "cell"]


@attrs.frozen(kw_only=True)
class StudyWork(Work):
    """A piece of a study's work.

    Attributes:
        task: "prepare" reads the data, encodes images with the other workers and loads the language
            model; "encode" only encodes a part of the images; "train" trains a model; "images"
            captions a part of the images of a cell; "cell" captions what is missing of a cell, and
            scores it.
        target: The name of the model's or the cell's folder.
        part: The number of the part of the images, and how many parts there are.
    """

    task: Task
    target: str = ""
    part: tuple[int, int] = (0, 1)


class Doer(Protocol):
    """What does a study's work in one process."""

    @property
    def work(self) -> dict[str, int]:
        """The work that it did so far, by the names in `Results.work`."""

    def prepare(self) -> None:
        """Do what every piece of work but "encode" needs, once."""

    def encode(self, part: tuple[int, int]) -> None:
        """Encode a part of the images: its number, and how many parts there are."""

    def do(self, task: Task, target: str, part: tuple[int, int]) -> str:
        """Do a piece of work; return why a model could not be trained, or ""."""


@attrs.frozen(kw_only=True)
class WorkDone:
    """What a worker did.

    Attributes:
        counts: The work that it did, by the names in `Results.work`.
        diverged: Why a model could not be trained.
        error: The sentence of an error that ends the study.
    """

    counts: Mapping[str, int] = attrs.field(factory=dict)
    diverged: str = ""
    error: str = ""


@attrs.frozen(kw_only=True)
class StartWorker(Start):
    """Creates a worker of a study.

    Attributes:
        make: Creates what does the work, from the study and its folder.
        study: The study, as JSON data.
        threads: The number of threads of PyTorch, on which the last bits of numbers depend.
    """

    make: Callable[[StudyJob], Doer]
    study: Mapping[str, Any]
    threads: int

    @override
    def __call__(self) -> StudyWorker:
        return StudyWorker(self)


class StudyWorker:
    """Does pieces of a study's work; models stay in memory from one piece to the next.

    Args:
        start: The study and its folder.
    """

    def __init__(self, start: StartWorker) -> None:
        self._start = start
        self._doer: Doer | None = None

    def __call__(self, work: Work) -> WorkDone:
        """Do a piece of work; an error is part of what is returned."""
        assert isinstance(work, StudyWork)
        try:
            doer = self._made()
            before, diverged = doer.work, ""
            if work.task == "encode":
                doer.encode(work.part)
            else:
                doer.prepare()
                diverged = doer.do(work.task, work.target, work.part)
            counts = {name: count - before.get(name, 0) for name, count in doer.work.items()}
            return WorkDone(counts=counts, diverged=diverged)
        except PrefixcapError as error:
            return WorkDone(error=str(error))

    def _made(self) -> Doer:
        if self._doer is None:
            import torch

            torch.set_num_threads(self._start.threads)
            study = Study.from_json(self._start.study, default_registry())
            self._doer = self._start.make(StudyJob(study, Path(self._start.folder)))
        return self._doer
