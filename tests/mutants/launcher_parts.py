"""A correct launcher, and its mutants."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from prefixcap.interfaces.launching.launcher import Done, Launcher, Start, Work


class TwistedLauncher(Launcher):
    """Does all works in this process, under the number of another one."""

    def __init__(self, twist: str) -> None:
        self.twist = twist

    @property
    def workers(self) -> int:
        return 0 if self.twist == "idle" else 2

    def run(self, start: Start, works: Sequence[Work], done: Done) -> list[Work]:
        pending, left = list(works), []
        worker, number, last = start(), 0, None
        while pending:
            work = pending.pop(0)
            number += 1
            if number == 3 and self.twist in ("forgets", "leaves"):
                left += [work] if self.twist == "leaves" else []
                continue
            if self.twist == "restarts":
                worker = start()
            result = self.moved(worker(work), number)
            if self.twist == "late":
                result, last = last or result, result
            try:
                further = done(work, result)
            except Exception:
                if self.twist == "silent":
                    continue
                raise
            if self.twist == "twice" and number == 3:
                done(work, result)
            pending += [] if self.twist == "short" else further
        return left

    def moved(self, result: Any, number: int) -> Any:
        name, _, count = result
        if self.twist == "many":
            return name, -number, 1
        return name, os.getpid() if self.twist == "in process" else -1, count
