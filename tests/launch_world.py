"""Studies on several workers: slow ones, and some that end in the middle of their work."""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs

from prefixcap.study.definition.study import Study
from prefixcap.study.execution.launching.worker import StartWorker, StudyWorker

SLOW = 0.25
"""Seconds that an image or an epoch takes at least."""


@attrs.frozen(kw_only=True)
class SlowStart(StartWorker):
    """Creates a worker whose images and trainings take long enough to be interrupted.

    It notes the beginning of each in a file of its process in `notes`.
    """

    notes: str = os.environ.get("PREFIXCAP_TEST_NOTES", "")

    def __call__(self) -> StudyWorker:
        from prefixcap.study.artifacts.captions import LoadedModel
        from prefixcap.training import checkpoint

        if "ray" in sys.modules:
            import ray

            node = ray.get_runtime_context().get_node_id()
            (Path(self.notes) / f"node-{os.getpid()}").write_text(node)
        note, caption = self.note, LoadedModel.caption
        write = checkpoint.TrainingCheckpoint.write

        def slow_caption(self: LoadedModel, rows: Any, *args: Any, **named: Any) -> Iterator[Any]:
            for each in caption(self, rows, *args, **named):
                if isinstance(rows, list):  # not to count FLOPs
                    note("captioned")
                    time.sleep(SLOW)
                yield each

        def slow_write(self: Any, *args: Any, **named: Any) -> None:
            write(self, *args, **named)
            note("trained")
            time.sleep(SLOW)

        LoadedModel.caption = slow_caption  # type: ignore[method-assign]
        checkpoint.TrainingCheckpoint.write = slow_write  # type: ignore[method-assign,assignment]
        return super().__call__()

    def note(self, what: str) -> None:
        with (Path(self.notes) / f"{what}-{os.getpid()}").open("a") as file:
            file.write(".")


def noted(notes: Path, what: str) -> dict[int, int]:
    """Return how often each process noted something."""
    files = notes.glob(f"{what}-*")
    return {int(file.name.rpartition("-")[2]): file.stat().st_size for file in files}


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    """Wait until something is the case."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)


def drive(study: Study, folder: str, notes: str, address: str) -> None:
    """Run a study on a cluster, with slow workers; for a process that is killed meanwhile."""
    import ray
    import torch

    from prefixcap.study.execution.launching import works
    from prefixcap.study.execution.runner import run_study

    torch.set_num_threads(1)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    works.StartWorker = functools.partial(SlowStart, notes=notes)  # type: ignore[misc,assignment]
    run_study(study, folder, launcher=f"ray:address={address},workers=1")
