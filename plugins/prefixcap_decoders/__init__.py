"""Decoders: greedy, beam, sampling."""

from __future__ import annotations

from collections.abc import Iterable

from prefixcap.config import Component
from prefixcap.hookspecs import hookimpl
from prefixcap_decoders.beam import Beam, DiverseBeam
from prefixcap_decoders.clipcap import ClipCapBeam, ClipCapGenerate2
from prefixcap_decoders.constrained import Constrained
from prefixcap_decoders.contrasting import ContrastiveDecoding, DoLa, Guidance
from prefixcap_decoders.contrastive import Contrastive
from prefixcap_decoders.greedy import Greedy
from prefixcap_decoders.hf_generate import HFGenerate
from prefixcap_decoders.mirostat import Mirostat
from prefixcap_decoders.reranking import MBR, BestOf
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
from prefixcap_decoders.speculative import Speculative
from prefixcap_decoders.stochastic import StochasticBeam

__all__ = [
    "MBR",
    "Beam",
    "BestOf",
    "ClipCapBeam",
    "ClipCapGenerate2",
    "Constrained",
    "Contrastive",
    "ContrastiveDecoding",
    "DiverseBeam",
    "DoLa",
    "Epsilon",
    "Eta",
    "Greedy",
    "Guidance",
    "HFGenerate",
    "MinP",
    "Mirostat",
    "Sample",
    "Speculative",
    "StochasticBeam",
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
        BestOf,
        ClipCapBeam,
        ClipCapGenerate2,
        Constrained,
        Contrastive,
        ContrastiveDecoding,
        DiverseBeam,
        DoLa,
        Epsilon,
        Eta,
        Greedy,
        Guidance,
        HFGenerate,
        MBR,
        MinP,
        Mirostat,
        Sample,
        Speculative,
        StochasticBeam,
        TopH,
        TopK,
        TopP,
        Typical,
    ]
