"""Decoders: greedy, beam, sampling."""

from __future__ import annotations

from collections.abc import Iterable

from prefixcap.config import Component
from prefixcap.hookspecs import hookimpl
from prefixcap_decoders.beam import Beam
from prefixcap_decoders.clipcap import ClipCapBeam, ClipCapGenerate2
from prefixcap_decoders.greedy import Greedy
from prefixcap_decoders.sampling import (
    Epsilon,
    Eta,
    MinP,
    Sample,
    TopH,
    TopK,
    TopP,
    Typical,
)

__all__ = [
    "Beam",
    "ClipCapBeam",
    "ClipCapGenerate2",
    "Epsilon",
    "Eta",
    "Greedy",
    "MinP",
    "Sample",
    "TopH",
    "TopK",
    "TopP",
    "Typical",
]


@hookimpl
def prefixcap_components() -> Iterable[type[Component]]:
    """Returns this plugin's config classes."""
    return [
        Beam,
        ClipCapBeam,
        ClipCapGenerate2,
        Epsilon,
        Eta,
        Greedy,
        MinP,
        Sample,
        TopH,
        TopK,
        TopP,
        Typical,
    ]
