"""Decoders: greedy, beam, sampling."""

from __future__ import annotations

from collections.abc import Iterable

from prefixcap.interfaces.component import Component
from prefixcap.plugin.hookspecs import hookimpl
from prefixcap_decoders.beam.config import Beam, DiverseBeam
from prefixcap_decoders.constrained.config import Constrained
from prefixcap_decoders.contrast.config import ContrastiveDecoding, DoLa, Guidance
from prefixcap_decoders.contrastive_search.config import Contrastive
from prefixcap_decoders.greedy.config import Greedy
from prefixcap_decoders.hf_generate.config import HFGenerate
from prefixcap_decoders.reranking.config import MBR, BestOf
from prefixcap_decoders.sampling.config import Epsilon, Eta, MinP, Sample, TopH, TopK, TopP, Typical
from prefixcap_decoders.sampling.mirostat_config import Mirostat
from prefixcap_decoders.speculative.config import Speculative
from prefixcap_decoders.stochastic_beam.config import StochasticBeam

__all__ = [
    "MBR",
    "Beam",
    "BestOf",
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
