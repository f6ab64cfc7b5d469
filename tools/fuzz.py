"""Fuzz what people bring, and report every kind of failure with the case that shows it.

    python tools/fuzz.py --cases 2000 --seed 0
    python tools/fuzz.py --target readers --first 17 --cases 1 --seed 0   # one case again

Each case is made by (seed, target, number) alone, with one exception: `study` changes a study that
the target trains first. The cases of a target run in a process of its own, with a limit on its
memory; one that dies or hangs is a finding, and the next case starts another.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import traceback
from collections import defaultdict
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any, Never

TARGETS = {
    "readers": ("fuzzing.readers", "Readers"),
    "specs": ("fuzzing.specs", "Specs"),
    "options": ("fuzzing.shell", "Options"),
    "study": ("fuzzing.shell", "Studies"),
    "bundle": ("fuzzing.bundles", "Bundles"),
}
SECONDS = 10.0
"""Processor time of a case; four times as much for a target that runs commands."""
BLOCKED = 300
"""Seconds after which a case that uses no processor time is stopped."""
GIB = 2**30
MEMORY = 12 * GIB
"""Limit on the address space, most of which torch's libraries map and do not use."""


class Slow(BaseException):
    """A case used more processor time than it may; no handler of `Exception` catches it."""


def main() -> int:
    """Run the cases; return 1 if there is a finding."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--cases", type=int, default=1000, help="cases of each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--target", choices=TARGETS, action="append")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.worker:
        work(chosen.worker, chosen.seed, range(chosen.first, chosen.first + chosen.cases))
        return 0
    failed = False
    for target in chosen.target or TARGETS:
        failed |= supervise(target, chosen.seed, chosen.first, chosen.first + chosen.cases)
    return int(failed)


def supervise(target: str, seed: int, first: int, last: int) -> bool:
    """Run cases in processes that may die; print the findings by kind."""
    findings: dict[str, list[tuple[int, str]]] = defaultdict(list)
    peak, number, passed = 0, first, 0
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        while number < last:
            words = ["--worker", target, "--seed", str(seed), "--first", str(number)]
            command = [sys.executable, __file__, *words, "--cases", str(last - number)]
            worker = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
            assert worker.stdout is not None
            running = number
            for line in worker.stdout:
                message: dict[str, Any] = json.loads(line)
                running = message["case"]
                peak = max(peak, message.get("peak", 0))
                passed += message.get("passed", False)
                if "kind" in message:
                    findings[message["kind"]].append((running, message["text"]))
            status = worker.wait()
            number = last if status == 0 else running + 1
            if status:
                findings[f"the process ended with status {status}"].append((running, ""))
    failed = sum(map(len, findings.values()))
    print(
        f"{target}: seed {seed}, cases {first} to {last - 1}: {passed} with a result, "
        f"{last - first - passed - failed} refused, {failed} failed in {len(findings)} ways; peak "
        f"{peak / GIB:.2f} GiB"
    )
    for kind, cases in sorted(findings.items(), key=lambda item: -len(item[1])):
        numbers = ", ".join(str(case) for case, _ in cases[:5])
        print(f"\n  {len(cases)} x {kind}\n  cases {numbers}\n{cases[0][1]}")
    sys.stdout.flush()
    return failed > 0


def work(target: str, seed: int, numbers: range) -> None:
    """Run cases in this process; write one line of JSON before each, and one for a finding."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "TMPDIR": str(Path.cwd())}
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGPROF, _stop)
    lines = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a case prints
    from importlib import import_module

    module, name = TARGETS[target]
    runner = getattr(import_module(module), name)(Path.cwd())
    seconds = SECONDS * (4 if module.endswith("shell") else 1)
    for number in numbers:
        lines.write(json.dumps({"case": number}) + "\n")
        faulthandler.dump_traceback_later(BLOCKED, exit=True)
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            runner.run(Random(f"{seed} {target} {number}"))
            lines.write(json.dumps({"case": number, "passed": True}) + "\n")
        except BaseException as error:
            signal.setitimer(signal.ITIMER_PROF, 0)
            if finding := finding_of(error):
                lines.write(json.dumps({"case": number, **finding}) + "\n")
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        lines.write(json.dumps({"case": number, "peak": peak}) + "\n")
    faulthandler.cancel_dump_traceback_later()


def _stop(_: int, __: FrameType | None) -> Never:
    raise Slow


def finding_of(error: BaseException) -> dict[str, str] | None:
    """Return the kind of a failure (its type and its innermost line of prefixcap), and its text."""
    from prefixcap.errors import LONGEST_SENTENCE, PrefixcapError

    if isinstance(error, PrefixcapError) and 0 < len(str(error)) <= LONGEST_SENTENCE:
        return None
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "prefixcap" in frame.filename
    ]
    if isinstance(error, AssertionError):
        return {"kind": str(error).splitlines()[0][:200], "text": str(error)[-1800:]}
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
    text = "".join(traceback.format_exception(error, limit=-6))[-1800:]
    return {"kind": f"{type(error).__name__} at {place}", "text": text}


if __name__ == "__main__":
    sys.exit(main())
