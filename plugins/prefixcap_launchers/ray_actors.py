"""Workers as actors of Ray."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from typing import Any, cast

import attrs
import ray
from ray.exceptions import RayError, RaySystemError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from typing_extensions import override

from prefixcap.errors import PrefixcapError, describe
from prefixcap.interfaces.launching.launcher import Done, Launcher, Start, Work, WorkQueue
from prefixcap.util.storage.temporary import temporary_folder
from prefixcap_launchers.copies import Folder, FolderCopy, State

BEAT = 1.0  # seconds between looks at whether any worker is left
GIB = 2**30


@attrs.frozen(kw_only=True)
class RayOptions:
    """The settings of the config `Ray`."""

    address: str
    workers: int
    num_cpus: float
    num_gpus: float
    memory: float
    patience: float
    copy: bool


@attrs.define(eq=False)
class _Actor:
    """An actor, and its last work; `is_ready` once it has answered."""

    handle: Any
    last: Work | None = None
    is_ready: bool = False


class _Host:
    """What runs in the actor's process: a worker, with a copy of the folder if it gets one.

    Args:
        original: The actor with the folder, of which the worker gets a copy.
    """

    def __init__(self, start: Start, original: Any = None) -> None:
        self._copy: FolderCopy | None = None
        if original is not None:
            self._stack = contextlib.ExitStack()
            place = str(self._stack.enter_context(temporary_folder()))
            self._copy = FolderCopy(_Original(original), Folder(place))
            start = attrs.evolve(start, folder=place)
        self._worker = start()

    def ready(self) -> None:
        """Answer once the actor has started."""

    def do(self, work: Work) -> Any:
        if self._copy is None:
            return self._worker(work)
        self._copy.fetch(work)
        result = self._worker(work)
        self._copy.send(work)
        return result


class _Original:
    """The folder of the launch, in another actor; contents pass through Ray's object store."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def states(self, paths: Sequence[str]) -> dict[str, State]:
        return cast(dict[str, State], ray.get(self._actor.states.remote(paths)))

    def read(self, path: str) -> bytes:
        return cast(bytes, ray.get(self._actor.read.remote(path)))

    def write(self, path: str, content: bytes) -> State:
        return cast(State, ray.get(self._actor.write.remote(path, content)))

    def append(self, path: str, lines: bytes) -> None:
        ray.get(self._actor.append.remote(path, lines))

    def delete(self, path: str) -> None:
        ray.get(self._actor.delete.remote(path))


class RayLauncher(Launcher):
    """Workers as actors of Ray.

    Args:
        config: Its settings.
    """

    def __init__(self, config: RayOptions) -> None:
        self._config = config

    @property
    @override
    def workers(self) -> int:
        if self._config.workers:
            return self._config.workers
        with _connected(self._config.address):
            return max(1, self._possible(ray.cluster_resources()))

    @property
    @override
    def copies(self) -> bool:
        return self._config.copy

    def _possible(self, resources: dict[str, float]) -> int:
        """Return how many workers have room in some resources."""
        asked = {
            "CPU": self._config.num_cpus,
            "GPU": self._config.num_gpus,
            "memory": self._config.memory * GIB,
        }
        return min(
            (int(resources.get(name, 0) / each + 1e-9) for name, each in asked.items() if each),
            default=1,
        )

    @override
    def run(self, start: Start, works: Sequence[Work], done: Done) -> list[Work]:
        with _connected(self._config.address):
            launch = _Launch(self._config, start, WorkQueue(works, done))
            try:
                launch.run(self.workers)
            finally:
                launch.end()
            return launch.queue.left


class _Launch:
    """The actors of one launch, and what each is doing."""

    def __init__(self, config: RayOptions, start: Start, queue: WorkQueue) -> None:
        self.queue = queue
        self._config = config
        # one copy in Ray's store, which every actor reads
        self._start = ray.put(start)
        self._original = _original(start.folder) if config.copy else None
        self._running: dict[Any, tuple[_Actor, Work | None]] = {}
        self._idle: list[_Actor] = []

    def run(self, workers: int) -> None:
        for _ in range(workers):
            self._begin()
        alone_since: float | None = None
        while self.queue or any(work for _, work in self._running.values()):
            for actor in [*self._idle]:
                if work := self.queue.take(actor.last):
                    self._idle.remove(actor)
                    actor.last = work
                    self._running[actor.handle.do.remote(work)] = actor, work
            answered, _ = ray.wait(list(self._running), timeout=BEAT)
            for reference in answered:
                self._take(reference)
            if self._is_alone():
                alone_since = alone_since or time.monotonic()
                if time.monotonic() - alone_since > self._config.patience:
                    return
            else:
                alone_since = None

    def end(self) -> None:
        actors = [*self._idle, *(actor for actor, _ in self._running.values())]
        handles = [actor.handle for actor in actors]
        for handle in (*handles, self._original):
            if handle is not None:
                with contextlib.suppress(RayError, ValueError):
                    ray.kill(handle)

    def _is_alone(self) -> bool:
        """Whether no actor has started, such as after the only machine with room has failed."""
        actors = [actor for actor, _ in self._running.values()]
        return not any(actor.is_ready for actor in (*self._idle, *actors))

    def _begin(self) -> None:
        config, variables = self._config, {}
        if threads := os.environ.get("OMP_NUM_THREADS"):
            variables["OMP_NUM_THREADS"] = threads
        options: dict[str, Any] = {
            "num_cpus": config.num_cpus,
            "num_gpus": config.num_gpus,
            "scheduling_strategy": "SPREAD",
            "max_restarts": 0,
            "runtime_env": {"env_vars": variables},
        }
        if config.memory:
            options["memory"] = int(config.memory * GIB)
        actor = _Actor(ray.remote(_Host).options(**options).remote(self._start, self._original))
        self._running[actor.handle.ready.remote()] = actor, None

    def _take(self, reference: Any) -> None:
        """Take the result of an actor, or begin another one if it has ended."""
        actor, work = self._running.pop(reference)
        try:
            result = ray.get(reference)
        except RayTaskError as error:  # the worker raised, which is a fault of the code
            raise PrefixcapError(f"a worker failed: {describe(error)}") from error
        except (RayError, RaySystemError):
            if work is not None:
                self.queue.fail(work)
            self._begin()
            return
        actor.is_ready = True
        if work is not None:
            self.queue.finish(work, result)
        self._idle.append(actor)


def _original(folder: str) -> Any:
    """Begin an actor on this machine that reads and writes a folder."""
    here = ray.get_runtime_context().get_node_id()
    strategy = NodeAffinitySchedulingStrategy(node_id=here, soft=False)
    return ray.remote(Folder).options(num_cpus=0, scheduling_strategy=strategy).remote(folder)


@contextlib.contextmanager
def _connected(address: str) -> Iterator[None]:
    """Connect to a cluster, or start a Ray of this machine; leave one alone that is connected."""
    if ray.is_initialized():
        yield
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if not address:
        quiet["include_dashboard"] = False
    try:
        ray.init(address=address or "local", **quiet)
    except (ConnectionError, RayError, RuntimeError, ValueError) as error:
        where = f"at {address!r}" if address else "on this machine"
        raise PrefixcapError(f"no Ray {where}: {describe(error)}") from error
    try:
        yield
    finally:
        ray.shutdown()
