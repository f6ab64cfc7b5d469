"""Kill a study at random moments, and compare what becomes of it with an undisturbed one.

    python benchmarks/kills.py alone --kills 200
    python benchmarks/kills.py together --processes 8 --minutes 10

`alone` runs a small study again and again. Each time it is killed (SIGKILL) once, in a phase that
is drawn and at a moment that is drawn in the duration of that phase, and then run to its end.
`together` lets several processes run one study, kills and replaces one of them every second or so,
and begins the next study when one is finished.

Every file is compared byte for byte, but for the times that were measured, in files that hold some,
and hashes of these files. Captions are decoded one by one (`max_rows=1`), since the last bits of
log-probabilities depend on the batch. Processes are forked from one that has run the study once in
another folder, so that little of their time is the start; they share nothing else.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from prefixcap.plugin.registry import default_registry
from prefixcap.study.analysis.results import Results
from prefixcap.study.definition import options
from prefixcap.study.definition.study import Study
from prefixcap.study.execution.runner import run_study
from prefixcap.util.progress import ProgressTask, Silent

sys.path.append(str(Path(__file__).parents[1] / "tests"))
cli_world: Any = import_module("cli_world")  # the tests' made-up data and language model
torch.set_num_threads(1)
cli_world.SPLITS = (("train", 8), ("val", 4), ("test", 2))

PHASES = ("starting", "encoding", "training", "captioning", "scoring", "writing")
MEASURED = (
    *("captions_per_second", "training_seconds", "seconds"),
    *("training_memory", "memory"),
)
HASHES = ("sha256", "captions_sha256", "digests")
NOT_COMPARED = (".locks", "timings.jsonl", "table.md")


def study(world: Any, seeds: int) -> Study:
    """Return a small study of two mappers and two decoders."""
    choices = {
        "dataset": f"jsonl:path={world.data}",
        "lm": f"hf:model={world.lm},init=random",
        "tuning": "full",
        "mapper": "linear,mlp" if seeds > 1 else "linear",
        "prefix_len": "2",
        "seed": ",".join(map(str, range(seeds))),
        "epochs": 3,
        "decoder": ["greedy", "top-p"],
        "metrics": "length,distinct",
        "max_new_tokens": 3,
        "max_rows": 1,
        "device": "cpu",
    }
    return options.study(choices, default_registry())


def work(made: Study, folder: Path, phase: Any) -> None:
    """Run the study; `phase` tells others what it does."""

    class Telling(Silent):
        @contextlib.contextmanager
        def task(self, title: str, total: int, unit: str) -> Iterator[ProgressTask]:
            words = title.split()
            phase.value = next(n for n, name in enumerate(PHASES) if name in words)
            with super().task(title, total, unit) as task:
                yield task

    class Writing:
        def __init__(self, write: Any) -> None:
            self.write = write

        def __get__(self, results: Any, _: Any) -> Any:
            def write() -> None:
                phase.value = PHASES.index("writing")
                self.write(results)

            return write

    Results.write = Writing(Results.write)  # type: ignore[method-assign, assignment]
    run_study(made, folder, Telling())


class Runs:
    """Starts processes, and compares folders with an undisturbed one."""

    def __init__(self, folder: Path, seeds: int) -> None:
        self.folder = folder
        self.study = study(cli_world.make_world(folder / "world"), seeds)
        self._context = multiprocessing.get_context("fork")
        run_study(self.study, folder / "first")
        self.durations = self._measure(folder / "undisturbed")
        self._expected = content(folder / "undisturbed")

    def start(self, folder: Path) -> tuple[Any, Any]:
        """Start the study; return the process and what it tells of its phase."""
        phase = self._context.Value("i", 0, lock=False)
        process = self._context.Process(target=work, args=(self.study, folder, phase))
        process.start()
        return process, phase

    def finish(self, folder: Path) -> None:
        """Run the study to its end."""
        process, _ = self.start(folder)
        process.join()
        if process.exitcode:
            raise SystemExit(f"{folder}: a process ended with status {process.exitcode}")

    def compare(self, folder: Path) -> None:
        """Compare a folder with the undisturbed one, then delete it."""
        actual = content(folder)
        if actual != self._expected:
            names = sorted(actual.keys() | self._expected.keys())
            wrong = [name for name in names if actual.get(name) != self._expected.get(name)]
            raise SystemExit(f"{folder} is not as an undisturbed study: {', '.join(wrong)}")
        shutil.rmtree(folder)

    def _measure(self, folder: Path) -> list[float]:
        """Run the study undisturbed; return how long each phase lasts."""
        process, phase = self.start(folder)
        durations = [0.0] * len(PHASES)
        last = time.perf_counter()
        while process.is_alive():
            time.sleep(0.001)
            now = time.perf_counter()
            durations[phase.value] += now - last
            last = now
        return durations


def content(folder: Path) -> dict[str, object]:
    """Return the content of every file of a study, without what was measured."""
    files: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() or any(part in NOT_COMPARED for part in path.parts):
            continue
        files[name] = path.read_bytes()
        if path.suffix == ".json":
            files[name] = _timeless(json.loads(path.read_bytes()))
    return files


def _timeless(value: Any) -> Any:
    if isinstance(value, list):
        return [_timeless(each) for each in value]
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if k not in (*MEASURED, *HASHES)}
        return {k: _timeless(v) for k, v in kept.items()}
    return value


def alone(runs: Runs, kills: int, draw: random.Random) -> None:
    """Kill one process after another."""
    killed: Counter[str] = Counter()
    begin = time.perf_counter()
    while killed.total() < kills:
        folder = runs.folder / "killed"
        aim = draw.randrange(len(PHASES))
        wait = draw.uniform(0, runs.durations[aim])
        process, phase = runs.start(folder)
        while process.is_alive() and phase.value != aim:
            time.sleep(0.0005)
        process.join(wait)
        was_alive = process.is_alive()
        if was_alive:
            at = PHASES[phase.value]
            process.kill()
            killed[at] += 1
        process.join()
        runs.finish(folder)
        runs.compare(folder)
        if was_alive and (killed.total() % 20 == 0 or killed.total() == kills):
            _report(killed, "each study as undisturbed", begin)


def together(runs: Runs, processes: int, minutes: float, draw: random.Random) -> None:
    """Let several processes run one study, kill and replace them."""
    killed: Counter[str] = Counter()
    begin, studies = time.perf_counter(), 0
    while time.perf_counter() - begin < 60 * minutes:
        folder = runs.folder / f"shared-{studies}"
        team = [runs.start(folder) for _ in range(processes)]
        while all(process.exitcode is None for process, _ in team):
            time.sleep(draw.expovariate(1))
            place = draw.randrange(processes)
            process, phase = team[place]
            if process.is_alive() and time.perf_counter() - begin < 60 * minutes:
                at = PHASES[phase.value]
                process.kill()
                process.join()
                killed[at] += 1
                team[place] = runs.start(folder)
        for process, _ in team:
            process.join()
            if process.exitcode:
                raise SystemExit(f"{folder}: a process ended with status {process.exitcode}")
        runs.compare(folder)
        studies += 1
        _report(killed, f"{processes} processes: {studies} studies as undisturbed", begin)


def _report(killed: Counter[str], result: str, begin: float) -> None:
    phases = ", ".join(f"{name} {killed[name]}" for name in PHASES)
    seconds = time.perf_counter() - begin
    print(f"{killed.total()} kills ({phases}), {result}, {seconds:.0f} s", flush=True)


def main() -> None:
    """Run one of the two attacks."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("attack", choices=("alone", "together"))
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    draw = random.Random(chosen.seed)
    with tempfile.TemporaryDirectory() as folder:
        if chosen.attack == "alone":
            alone(Runs(Path(folder), seeds=1), chosen.kills, draw)
        else:
            runs = Runs(Path(folder), seeds=3)
            together(runs, chosen.processes, chosen.minutes, draw)


if __name__ == "__main__":
    main()
