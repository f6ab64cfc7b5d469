"""Studies on a cluster of Ray, whose machines fail."""

from __future__ import annotations

import functools
import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import ending
import launch_world
import pytest
import ray
import torch
from cli_world import outcome
from ending import Ending
from launch_world import SlowStart, noted, wait_for
from prefixcap_launchers.configs import Ray
from ray.cluster_utils import Cluster

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.launching.launcher import Work
from prefixcap.study.definition.study import Study
from prefixcap.study.execution.launching import works
from prefixcap.study.execution.runner import run_study

torch.set_num_threads(1)
for module in (launch_world, ending):  # the workers' processes cannot import the tests
    ray.cloudpickle.register_pickle_by_value(module)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head without processors, and three machines of one each."""
    ray.shutdown()  # of other tests
    quiet = {"include_dashboard": False, "object_store_memory": 100 * 2**20}
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **quiet})
    for _ in range(3):
        made.add_node(num_cpus=1, object_store_memory=80 * 2**20)
    ray.init(made.address, log_to_driver=False, logging_level="error")
    yield made
    ray.shutdown()
    made.shutdown()


def test_a_worker_on_each_machine(cluster: Cluster) -> None:
    assert Ray().build().workers == 3
    assert Ray(num_cpus=0.5).build().workers == 6
    assert Ray(num_cpus=2).build().workers == 1  # which waits for such a machine
    assert Ray(workers=2).build().workers == 2


def test_work_of_a_killed_actor_is_done_by_another(cluster: Cluster, tmp_path: Path) -> None:
    done = []

    def finish(work: Work, result: Any) -> list[Work]:
        assert result == work.name
        done.append(work.name)
        return []

    names = ["a", "once b", "always c", "d"]
    start = Ending(folder=str(tmp_path), ends=("always c",))
    left = Ray(workers=2).build().run(start, [Work(name=name) for name in names], finish)
    assert sorted(done) == ["a", "d", "once b"]
    assert [work.name for work in left] == ["always c"]


def test_works_are_left_if_no_machine_has_room(cluster: Cluster, tmp_path: Path) -> None:
    launcher = Ray(num_cpus=5, patience=0.5).build()
    works_ = [Work(name="a")]
    assert launcher.run(Ending(folder=str(tmp_path)), works_, lambda *_: ()) == works_


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where workers, which are slow, note what they do."""
    folder = tmp_path / "notes"
    folder.mkdir()
    monkeypatch.setattr(works, "StartWorker", functools.partial(SlowStart, notes=str(folder)))
    return folder


class Failing:
    """Machines of a cluster that fail in the middle of the work."""

    def __init__(self, cluster: Cluster, notes: Path) -> None:
        self._cluster, self._notes = cluster, notes
        self.failed: list[tuple[str, int]] = []

    def fail(self, what: str, count: int) -> None:
        """Remove the machine whose worker is the first to do something so often."""
        wait_for(lambda: any(n >= count for n in self._alive(what).values()))
        process = max(self._alive(what), key=self._alive(what).__getitem__)
        here = (self._notes / f"node-{process}").read_text()
        (node,) = (n for n in self._cluster.worker_nodes if n.node_id == here)
        self._cluster.remove_node(node, allow_graceful=False)
        self.failed.append((what, process))

    def _alive(self, what: str) -> dict[int, int]:
        gone = [process for _, process in self.failed]
        return {p: n for p, n in noted(self._notes, what).items() if p not in gone}


def interrupted(folder: Path, alone: Path) -> int:
    """Return how many cells differ, in the last bits of log-probabilities."""
    texts = [
        {p.parent.name: p.read_bytes() for p in each.glob("cells/*/captions.jsonl")}
        for each in (folder, alone)
    ]
    return sum(texts[0][cell] != texts[1][cell] for cell in texts[0])


def test_machines_that_fail_leave_the_same_study(
    cluster: Cluster, grid: Study, alone: Path, notes: Path, tmp_path: Path
) -> None:
    """One of three fails in the middle of a training, another one in the middle of captioning."""
    failing = Failing(cluster, notes)

    def fail_both() -> None:
        failing.fail("trained", 1)
        failing.fail("captioned", 2)

    killer = Thread(target=fail_both)
    killer.start()
    results = run_study(grid, tmp_path / "study", launcher="ray")
    killer.join()
    assert [what for what, _ in failing.failed] == ["trained", "captioned"]
    assert len(results.rows) == 4
    assert 4 * 8 <= sum(noted(notes, "captioned").values()) <= 4 * 8 + 8
    assert outcome(tmp_path / "study") == outcome(alone)
    assert interrupted(tmp_path / "study", alone) <= 1


def test_two_machines_without_the_folder(
    cluster: Cluster, grid: Study, alone: Path, notes: Path, tmp_path: Path
) -> None:
    """Machines have copies, share a cell's images, and one of two fails while it captions."""
    while len(cluster.worker_nodes) < 2:
        cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)
    failing = Failing(cluster, notes)
    killer = Thread(target=failing.fail, args=("captioned", 2))
    killer.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(works, "SHARD", 4)
        results = run_study(grid, tmp_path / "study", launcher="ray:copy=true")
    killer.join()
    assert failing.failed
    assert results.work["trained_models"] == 2
    assert 4 * 8 <= sum(noted(notes, "captioned").values()) <= 4 * 8 + 4
    assert outcome(tmp_path / "study") == outcome(alone)


def test_a_study_goes_on_after_its_first_process_was_killed(
    cluster: Cluster, grid: Study, alone: Path, notes: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "study"
    spawn = multiprocessing.get_context("spawn")
    driver = spawn.Process(
        target=launch_world.drive, args=(grid, str(folder), str(notes), cluster.address)
    )
    driver.start()
    wait_for(lambda: sum(noted(notes, "captioned").values()) >= 2)
    driver.kill()
    driver.join()
    results = run_study(grid, folder, launcher="ray:workers=1")
    assert len(results.rows) == 4
    assert len(noted(notes, "captioned")) >= 2  # in the workers of both
    assert 4 * 8 <= sum(noted(notes, "captioned").values()) <= 4 * 8 + 2 * 8
    assert outcome(folder) == outcome(alone)


def test_no_cluster_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)

    def fail(**_: Any) -> None:
        raise ConnectionError("nobody answers")

    monkeypatch.setattr(ray, "init", fail)
    with pytest.raises(
        PrefixcapError, match=r"no Ray at '10\.0\.0\.1:6379.: ConnectionError: nobody answers"
    ):
        _ = Ray(address="10.0.0.1:6379").build().workers
