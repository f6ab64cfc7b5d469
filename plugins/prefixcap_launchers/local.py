"""Workers in processes of this machine, each at one end of a pipe."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import attrs
from typing_extensions import override

from prefixcap.errors import PrefixcapError, describe
from prefixcap.interfaces.launching.launcher import ATTEMPTS, Done, Launcher, Start, Work, WorkQueue


@attrs.define
class _Process:
    """A worker's process: this end of its pipe, its work now, and its last work."""

    process: BaseProcess
    pipe: Connection
    work: Work | None = None
    last: Work | None = None


class LocalLauncher(Launcher):
    """Workers in processes of this machine.

    Args:
        processes: Their number.
    """

    def __init__(self, processes: int) -> None:
        self._processes = processes

    @property
    @override
    def workers(self) -> int:
        return self._processes

    @override
    def run(self, start: Start, works: Sequence[Work], done: Done) -> list[Work]:
        queue, workers = WorkQueue(works, done), [_begin(start) for _ in range(self._processes)]
        ends = 0
        try:
            while workers and (queue or any(worker.work for worker in workers)):
                for worker in workers:
                    _assign(worker, queue)
                busy = {worker.pipe: worker for worker in workers if worker.work}
                for pipe in wait(list(busy)):
                    worker = busy[pipe]  # type: ignore[index]
                    if not _receive(worker, queue):
                        ends += 1
                        workers.remove(worker)
                        # workers that always end are not started for ever
                        if ends < ATTEMPTS * self._processes:
                            workers.append(_begin(start))
            return queue.left
        finally:
            for worker in workers:
                _end(worker)


def _begin(start: Start) -> _Process:
    # another process would inherit locks and threads if it were forked
    context = get_context("spawn")
    own, other = context.Pipe()
    try:
        process = context.Process(target=_work, args=(start, other), daemon=True)
        process.start()
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise PrefixcapError(f"the work cannot be sent to a process: {describe(error)}") from error
    other.close()
    return _Process(process, own)


def _work(start: Start, pipe: Connection) -> None:
    """Do the works that come through a pipe, until the other end is closed."""
    worker = start()
    with suppress(EOFError, OSError):
        while True:
            pipe.send(worker(pipe.recv()))


def _assign(worker: _Process, queue: WorkQueue) -> None:
    """Give a worker that has none the next piece of work."""
    if worker.work is not None or not (work := queue.take(worker.last)):
        return
    worker.work = worker.last = work
    with suppress(OSError):  # it has ended, which is noticed when its answer is read
        worker.pipe.send(work)


def _receive(worker: _Process, queue: WorkQueue) -> bool:
    """Take a worker's result; return whether it still lives."""
    work, worker.work = worker.work, None
    assert work is not None
    try:
        result = worker.pipe.recv()
    except (EOFError, OSError):
        queue.fail(work)
        worker.process.join()
        return False
    queue.finish(work, result)
    return True


def _end(worker: _Process) -> None:
    worker.pipe.close()
    if worker.work is not None:
        worker.process.terminate()
    worker.process.join(timeout=10)
    if worker.process.is_alive():
        worker.process.kill()
        worker.process.join()
