"""Workers that end their process."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import attrs
from typing_extensions import override

from prefixcap.interfaces.launching.launcher import Start, Work


@attrs.frozen(kw_only=True)
class Ending(Start):
    """Creates a worker that ends its process during some works, as often as the folder says."""

    ends: tuple[str, ...] = ()

    @override
    def __call__(self) -> Callable[[Work], str]:
        def work(work: Work) -> str:
            if work.name in self.ends:
                os._exit(3)
            marker = Path(self.folder) / work.name
            if "once" in work.name and not marker.exists():
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return work.name

        return work
