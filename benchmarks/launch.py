"""Time of a study on several workers: cells a minute, the overhead of a cell, and large grids.

`python benchmarks/launch.py cells` runs a study of the drawn scenes whose models are trained, in
one process and on simulated machines of Ray with one worker each, and prints cells a minute and the
seconds that a cell takes. `python benchmarks/launch.py plan` plans grids of
1,000 and 10,000 cells and hands their pieces of work out to workers that do nothing, and prints the
seconds and the peak memory.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from typing_extensions import override

from prefixcap.interfaces.launching.launcher import Done, Launcher, Start, Work, WorkQueue
from prefixcap.plugin.registry import default_registry
from prefixcap.study.artifacts.folder import StudyJob
from prefixcap.study.definition import options
from prefixcap.study.definition.study import Study
from prefixcap.study.execution.launching.worker import WorkDone
from prefixcap.study.execution.runner import Runner, run_study


def study(seeds: int, decoders: int, images: int) -> Study:
    """Return a study of small models; its decoders are samplers that differ a little."""
    choices = {
        "dataset": "scenes",
        "limit": images,
        "mapper": "linear",
        "prefix_len": 1,
        "seed": list(range(seeds)),
        "decoder": [f"top-p:top_p={0.5 + n / 1000}" for n in range(decoders)],
        "training": "epochs=1",
        "max_new_tokens": 16,
        "metrics": "length",
        "no_baselines": True,
        "device": "cpu",
    }
    return options.study(choices, default_registry())


class Idle(Launcher):
    """Hands all works out in this process, and does none."""

    count = 0

    @property
    @override
    def workers(self) -> int:
        return 2

    @override
    def run(self, start: Start, works: Sequence[Work], done: Done) -> list[Work]:
        queue = WorkQueue(works, done)
        last: Work | None = None
        while queue:
            last = queue.take(last)
            assert last is not None
            self.count += 1
            queue.finish(last, WorkDone())
        return queue.left


def alone(work: Callable[..., None], *arguments: Any) -> Any:
    """Do some work in a process of its own, and return what it sends."""
    context = multiprocessing.get_context("spawn")
    own, other = context.Pipe()
    process = context.Process(target=work, args=(*arguments, other))
    process.start()
    other.close()
    answer = own.recv()
    process.join()
    return answer


def plan(seeds: int, decoders: int, pipe: Any) -> None:
    """Plan a grid and hand it out."""
    with tempfile.TemporaryDirectory() as folder:
        one = Runner(StudyJob(study(1, 1, 4), Path(folder)))
        one.prepare()  # imports and features are not counted
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        runner = Runner(StudyJob(study(seeds, decoders, 4), Path(folder)))
        begin = time.perf_counter()
        launcher = Idle()
        runner._launch(launcher)
        seconds = time.perf_counter() - begin
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pipe.send(
        {
            "cells": seeds * decoders,
            "pieces": launcher.count,
            "seconds": round(seconds, 1),
            "more MiB": round((after - before) / 1024, 1),
            "peak MiB": round(after / 1024),
        }
    )


def train(seeds: int, images: int, folder: str, pipe: Any) -> None:
    """Train the models, so that only captions and scores are left."""
    run_study(study(seeds, 1, images), folder)
    pipe.send(None)


def run(seeds: int, decoders: int, images: int, nodes: int, folder: str, pipe: Any) -> None:
    """Run the study on some machines, or on none; send the seconds and the decoding's own."""
    launcher = "local"
    if nodes:
        import ray
        from ray.cluster_utils import Cluster

        quiet = {"include_dashboard": False, "object_store_memory": 100 * 2**20}
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **quiet})
        for _ in range(nodes):
            cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)
        ray.init(cluster.address, log_to_driver=False, logging_level="error")
        launcher = "ray"
    began: list[float] = []
    done = Times(began)
    begin = time.perf_counter()
    with done:
        results = run_study(study(seeds, decoders, images), folder, launcher=launcher)
    pipe.send({"seconds": time.perf_counter() - begin, "handed": began, "cells": len(results.rows)})


class Times:
    """Notes when pieces of work are done: cells of this process, and what workers do."""

    def __init__(self, times: list[float]) -> None:
        self._times = times

    def __enter__(self) -> None:
        from prefixcap.study.execution import cells
        from prefixcap.study.execution.launching import works

        times, original, run = self._times, works.StudyLaunch._done, cells.CellRunner.run

        def noted_run(self: cells.CellRunner, *arguments: Any) -> Any:
            answer = run(self, *arguments)
            if not launched:
                times.append(time.perf_counter())
            return answer

        launched: list[Work] = []

        def noted(self: works.StudyLaunch, work: Work, result: Any) -> Sequence[Work]:
            launched.append(work)
            times.append(time.perf_counter())
            return original(self, work, result)

        cells.CellRunner.run = noted_run  # type: ignore[method-assign,assignment]
        works.StudyLaunch._done = noted  # type: ignore[method-assign]

    def __exit__(self, *_: object) -> None:
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("cells", "plan"))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--decoders", type=int, default=20)
    parser.add_argument("--images", type=int, default=40)
    arguments = parser.parse_args()
    if arguments.what == "plan":
        for seeds, decoders in ((10, 100), (100, 100)):
            print(json.dumps(alone(plan, seeds, decoders)), flush=True)
        return
    with tempfile.TemporaryDirectory() as place:
        trained = Path(place) / "trained"
        alone(train, arguments.seeds, arguments.images, str(trained))
        sizes = arguments.seeds, arguments.decoders, arguments.images
        for nodes in (0, 1, 2):
            folder = shutil.copytree(trained, Path(place) / f"{nodes}")
            answer = alone(run, *sizes, nodes, str(folder))
            handed = answer["handed"]
            # from the first cell to the last, without the start of the workers
            first = 2 * nodes  # their preparations, and a cell of each
            span, cells = handed[-1] - handed[first], len(handed) - first - 1
            print(
                json.dumps(
                    {
                        "nodes": nodes,
                        "cells a minute": round(60 * cells / span, 1),
                        "seconds a cell": round(span / cells * max(1, nodes), 3),
                        "seconds in all": round(answer["seconds"], 1),
                    }
                ),
                flush=True,
            )


if __name__ == "__main__":
    main()
