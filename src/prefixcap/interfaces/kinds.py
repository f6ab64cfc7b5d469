"""The eleven kinds of component, by the base classes of their configs."""

from __future__ import annotations

from collections.abc import Mapping

from prefixcap.interfaces.bridge import BridgeConfig
from prefixcap.interfaces.component import Component
from prefixcap.interfaces.dataset import DatasetConfig
from prefixcap.interfaces.decoder import DecoderConfig
from prefixcap.interfaces.encoder import EncoderConfig
from prefixcap.interfaces.language_model import LMConfig
from prefixcap.interfaces.launching.launcher import LauncherConfig
from prefixcap.interfaces.mapper import MapperConfig
from prefixcap.interfaces.metric import MetricConfig
from prefixcap.interfaces.retrieval.prompt import PromptConfig
from prefixcap.interfaces.retrieval.retriever import RetrieverConfig
from prefixcap.interfaces.tuning import TuningConfig

KINDS: Mapping[str, type[Component]] = {
    base.kind: base
    for base in (
        EncoderConfig,
        BridgeConfig,
        MapperConfig,
        LMConfig,
        TuningConfig,
        DecoderConfig,
        DatasetConfig,
        MetricConfig,
        LauncherConfig,
        RetrieverConfig,
        PromptConfig,
    )
}
