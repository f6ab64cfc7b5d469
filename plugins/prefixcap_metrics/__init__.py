"""Caption metrics: those of the COCO evaluation, and those of decoding methods."""

from __future__ import annotations

from collections.abc import Iterable

from prefixcap.interfaces.component import Component
from prefixcap.plugin.hookspecs import hookimpl
from prefixcap_metrics.configs import Bleu, Cider, Distinct, Length, Meteor, Rouge, Spice
from prefixcap_metrics.decoding_metrics import (
    ClipScore,
    Diversity,
    Finish,
    Logprob,
    Oracle,
    Repetition,
)

__all__ = [
    "Bleu",
    "Cider",
    "ClipScore",
    "Distinct",
    "Diversity",
    "Finish",
    "Length",
    "Logprob",
    "Meteor",
    "Oracle",
    "Repetition",
    "Rouge",
    "Spice",
    "prefixcap_components",
]


@hookimpl
def prefixcap_components() -> Iterable[type[Component]]:
    """Returns the metrics."""
    return [
        Bleu,
        Meteor,
        Rouge,
        Cider,
        Spice,
        Length,
        Distinct,
        Repetition,
        Diversity,
        Oracle,
        ClipScore,
        Logprob,
        Finish,
    ]
