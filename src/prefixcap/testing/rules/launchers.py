"""Rules for launchers."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, cast

import attrs
from typing_extensions import override

from prefixcap.interfaces.launching.launcher import Launcher, Start, Work
from prefixcap.testing.case import Case
from prefixcap.testing.rules.rule import require, rule

COUNT = 7


@attrs.frozen(kw_only=True)
class Echo(Start):
    """Creates a worker that answers with a work's name, its process and how much it has done."""

    folder: str = ""

    @override
    def __call__(self) -> Callable[[Work], tuple[str, int, int]]:
        done: list[str] = []

        def work(work: Work) -> tuple[str, int, int]:
            done.append(work.name)
            return work.name, os.getpid(), len(done)

        return work


class _Stopped(Exception):  # noqa: N818  (an error that no launcher knows)
    """Raised by `done`."""


def launched(case: Case) -> tuple[list[tuple[Work, Any]], list[Work]]:
    """Do some works, each of which leads to another one; return the results and what is left."""

    def run() -> tuple[list[tuple[Work, Any]], list[Work]]:
        answers: list[tuple[Work, Any]] = []

        def done(work: Work, result: Any) -> Sequence[Work]:
            answers.append((work, result))
            if work.name.startswith("more"):
                return []
            return [Work(name=f"more {work.name}", group=work.group)]

        works = [Work(name=f"work {n}", group=f"group {n % 3}") for n in range(COUNT)]
        return answers, built(case).run(Echo(), works, done)

    return case.once("launched", run)


def built(case: Case) -> Launcher:
    """Return the launcher, built once."""
    return cast(Launcher, case.built())


@rule("every-work")
def every_work(case: Case) -> None:
    """Every piece of work, further ones included, is either done once or returned as undone."""
    answers, left = launched(case)
    names = [work.name for work, _ in answers] + [work.name for work in left]
    first = {f"work {n}" for n in range(COUNT)}
    expected = first | {f"more {work.name}" for work, _ in answers if work.name in first}
    require(
        sorted(names) == sorted(expected), f"of {len(expected)} works, these came back: {names}"
    )
    if not built(case).workers:
        require(len(left) == COUNT, f"without workers, only {len(left)} of {COUNT} works are left")


@rule("own-result")
def own_result(case: Case) -> None:
    """What is done gets the result of its own work."""
    for work, result in launched(case)[0]:
        require(result[0] == work.name, f"{work.name!r} got the result of {result[0]!r}")


@rule("kept-workers")
def kept_workers(case: Case) -> None:
    """Workers live in other processes, and each is started once for all its works."""
    answers, _ = launched(case)
    counts: dict[int, list[int]] = {}
    for _, (_, process, count) in answers:
        counts.setdefault(process, []).append(count)
    require(os.getpid() not in counts, "a worker is in the process that launches")
    for process, each in counts.items():
        expected = list(range(1, len(each) + 1))
        require(sorted(each) == expected, f"the process {process} counted its works as {each}")
    most = built(case).workers
    require(len(counts) <= most, f"{len(counts)} processes worked, and workers is {most}")


@rule("stops")
def stops(case: Case) -> None:
    """What `done` raises ends the launch."""

    def done(work: Work, result: Any) -> Sequence[Work]:
        raise _Stopped

    if built(case).workers:
        try:
            built(case).run(Echo(), [Work(name="one"), Work(name="two")], done)
        except _Stopped:
            return
        require(False, "the error was lost")
