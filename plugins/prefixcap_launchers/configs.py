"""Configs of the launchers."""

from __future__ import annotations

import importlib.util
from typing import ClassVar

import attrs
from typing_extensions import override

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.launching.launcher import Launcher, LauncherConfig
from prefixcap.interfaces.validators import at_least


def _share(_: object, attribute: attrs.Attribute[float], value: float) -> None:
    if not 0 <= value < float("inf"):
        raise ValueError(f"{attribute.name} must be at least 0, not {value}")


@attrs.frozen(kw_only=True)
class Local(LauncherConfig):
    """Processes on this machine.

    Attributes:
        processes: The number of processes; with 0, the process that was started does all work.
    """

    name: ClassVar[str] = "local"

    processes: int = attrs.field(default=0, validator=at_least(0))

    @override
    def build(self) -> Launcher:
        from prefixcap_launchers.local import LocalLauncher

        return LocalLauncher(self.processes)


@attrs.frozen(kw_only=True)
class Ray(LauncherConfig):
    """Actors of Ray (Moritz et al. 2018, arXiv:1712.05889), on this machine or a cluster.

    The study's folder must have the same path on every machine, as on a network drive, or `copy` is
    set.

    Attributes:
        address: The address of a cluster, such as "auto" or "10.0.0.1:6379"; by default a Ray of
            this machine alone is started.
        workers: The number of workers; with 0, as many as the cluster's resources allow.
        num_cpus: The processor cores that each worker asks for.
        num_gpus: The GPUs that each worker asks for, or the share of one, such as 0.25.
        memory: The memory that each worker asks for, in GiB; 0 is any.
        patience: How many seconds to wait for workers if there is none, such as after a machine has
            failed, before the process that was started does the rest.
        copy: Whether workers get copies of the files of the study's folder that they need, and send
            what they make, through Ray's object store.
    """

    name: ClassVar[str] = "ray"

    address: str = ""
    workers: int = attrs.field(default=0, validator=at_least(0))
    num_cpus: float = attrs.field(default=1.0, validator=_share)
    num_gpus: float = attrs.field(default=0.0, validator=_share)
    memory: float = attrs.field(default=0.0, validator=_share)
    patience: float = attrs.field(default=300.0, validator=_share)
    copy: bool = False

    @override
    def build(self) -> Launcher:
        if importlib.util.find_spec("ray") is None:
            raise PrefixcapError("ray needs another package: pip install 'prefixcap[ray]'")
        from prefixcap_launchers.ray_actors import RayLauncher, RayOptions

        return RayLauncher(RayOptions(**attrs.asdict(self)))
