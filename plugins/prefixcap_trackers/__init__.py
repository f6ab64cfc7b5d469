"""Trackers: TensorBoard, Weights & Biases and Trackio."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prefixcap.plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from prefixcap.interfaces.events import TrackerConfig


@hookimpl
def prefixcap_trackers() -> Iterable[type[TrackerConfig]]:
    """Return the trackers."""
    from prefixcap_trackers.configs import TensorBoard, Trackio, WeightsAndBiases

    return [TensorBoard, WeightsAndBiases, Trackio]
