"""Studies on a cluster of Ray, whose machines fail."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import ending
import launch_world
import pytest
import ray
import torch
from cli_world import make_world, outcome
from ending import Start
from launch_world import SlowStart, noted, wait_for
from prefixcap_launchers.configs import Ray
from ray.cluster_utils import Cluster

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.launching.launcher import Work
from prefixcap.plugin.registry import default_registry
from prefixcap.study.definition import options
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
    start = Start(str(tmp_path), ("always c",))
    left = Ray(workers=2).build().run(start, [Work(name=name) for name in names], finish)
    assert sorted(done) == ["a", "d", "once b"]
    assert [work.name for work in left] == ["always c"]


def test_works_are_left_if_no_machine_has_room(cluster: Cluster, tmp_path: Path) -> None:
    launcher = Ray(num_cpus=5, patience=0.5).build()
    works_ = [Work(name="a")]
    assert launcher.run(Start(str(tmp_path)), works_, lambda *_: ()) == works_


def test_machines_that_fail_leave_the_same_study(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of three fails in the middle of a training, another one in the middle of captioning."""
    world, notes = make_world(tmp_path / "world"), tmp_path / "notes"
    notes.mkdir()
    choices = {
        "dataset": f"jsonl:path={world.data}",
        "lm": f"hf:model={world.lm},init=random",
        "tuning": "full",
        "mapper": "linear",
        "prefix_len": "2,3",
        "epochs": 3,
        "decoder": ["greedy", "top-p"],
        "metrics": "length,distinct",
        "max_new_tokens": 6,
    }
    study = options.study(choices, default_registry())
    monkeypatch.setattr(works, "StartWorker", functools.partial(SlowStart, notes=str(notes)))
    failed = []

    def fail(what: str, count: int) -> None:
        wait_for(lambda: any(n >= count for n in alive(what).values()))
        process = max(alive(what), key=alive(what).__getitem__)
        (node,) = (n for n in cluster.worker_nodes if node_of(process) == n.node_id)
        cluster.remove_node(node, allow_graceful=False)
        failed.append((what, process))

    def alive(what: str) -> dict[int, int]:
        gone = [process for _, process in failed]
        return {p: n for p, n in noted(notes, what).items() if p not in gone}

    def node_of(process: int) -> str:
        return (notes / f"node-{process}").read_text()

    def fail_both() -> None:
        fail("trained", 1)
        fail("captioned", 2)

    killer = Thread(target=fail_both)
    killer.start()
    results = run_study(study, tmp_path / "study", launcher="ray")
    killer.join()
    assert [what for what, _ in failed] == ["trained", "captioned"]
    assert len(results.rows) == 4
    captioned = sum(noted(notes, "captioned").values())
    assert 4 * 8 <= captioned <= 4 * 8 + 8
    run_study(study, tmp_path / "alone")
    assert outcome(tmp_path / "study") == outcome(tmp_path / "alone")
    both = ("study", "alone")
    texts = [
        {p.parent.name: p.read_bytes() for p in (tmp_path / name).glob("cells/*/captions.jsonl")}
        for name in both
    ]
    resumed = [cell for cell in texts[0] if texts[0][cell] != texts[1][cell]]
    assert len(resumed) <= 1  # the last bits of log-probabilities of a cell that was interrupted


def test_no_cluster_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)

    def fail(**_: Any) -> None:
        raise ConnectionError("nobody answers")

    monkeypatch.setattr(ray, "init", fail)
    with pytest.raises(
        PrefixcapError, match=r"no Ray at '10\.0\.0\.1:6379.: ConnectionError: nobody answers"
    ):
        _ = Ray(address="10.0.0.1:6379").build().workers
