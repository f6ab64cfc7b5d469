"""Decoders, a folder per family: `config.py` has the settings, `decoder.py` the search."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prefixcap.plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from prefixcap.interfaces.component import Component


@hookimpl
def prefixcap_components() -> Iterable[type[Component]]:
    """Return the decoders."""
    from prefixcap_decoders.beam.config import Beam, DiverseBeam
    from prefixcap_decoders.constrained.config import Constrained
    from prefixcap_decoders.contrast.config import ContrastiveDecoding, DoLa, Guidance
    from prefixcap_decoders.contrastive_search.config import Contrastive
    from prefixcap_decoders.greedy.config import Greedy
    from prefixcap_decoders.guided.config import Magic, ZeroCap
    from prefixcap_decoders.guided.conzic_config import ConZIC
    from prefixcap_decoders.hf_generate.config import HFGenerate
    from prefixcap_decoders.reranking.config import MBR, BestOf
    from prefixcap_decoders.sampling import config as sampling
    from prefixcap_decoders.speculative.config import Speculative
    from prefixcap_decoders.stochastic_beam.config import StochasticBeam

    return [
        Beam, DiverseBeam, Constrained, ContrastiveDecoding, DoLa, Guidance, Contrastive, Greedy,
        HFGenerate, Magic, ZeroCap, ConZIC, MBR, BestOf, *sampling.DECODERS, Speculative,
        StochasticBeam,
    ]  # fmt: skip
