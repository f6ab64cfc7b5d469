"""prefixcap: a plugin-based research library for image captioning with a prefix.

Everything public is here, imported on first use: `decode`, `train`, `encode`, `evaluate` and
`Captioner` for single models; `Study`, `run_study`, `load_study` and `compare` for studies; and
every config class by its name, such as `prefixcap.Greedy`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from prefixcap.util.imports.torchvision import patch_torchvision

if TYPE_CHECKING:
    from prefixcap.captioning.captioner import Captioner as Captioner
    from prefixcap.captioning.encode_images import encode as encode
    from prefixcap.decoding.decode import decode as decode
    from prefixcap.decoding.decode import iter_decode as iter_decode
    from prefixcap.decoding.token_decoder import TokenDecoder as TokenDecoder
    from prefixcap.engine.causal_lm import from_transformers as from_transformers
    from prefixcap.errors import DivergedError as DivergedError
    from prefixcap.errors import NonFiniteError as NonFiniteError
    from prefixcap.errors import PrefixcapError as PrefixcapError
    from prefixcap.evaluation.evaluate import evaluate as evaluate
    from prefixcap.interfaces.bridge import Bridge as Bridge
    from prefixcap.interfaces.bridge import BridgeConfig as BridgeConfig
    from prefixcap.interfaces.component import Component as Component
    from prefixcap.interfaces.dataset import Dataset as Dataset
    from prefixcap.interfaces.dataset import DatasetConfig as DatasetConfig
    from prefixcap.interfaces.dataset import Example as Example
    from prefixcap.interfaces.dataset import ImageItem as ImageItem
    from prefixcap.interfaces.decoder import Decoder as Decoder
    from prefixcap.interfaces.decoder import DecoderConfig as DecoderConfig
    from prefixcap.interfaces.decoder import DecodingTask as DecodingTask
    from prefixcap.interfaces.decoder import Hypothesis as Hypothesis
    from prefixcap.interfaces.encoder import Encoder as Encoder
    from prefixcap.interfaces.encoder import EncoderConfig as EncoderConfig
    from prefixcap.interfaces.language_model import LanguageModel as LanguageModel
    from prefixcap.interfaces.language_model import LMConfig as LMConfig
    from prefixcap.interfaces.launching.launcher import Launcher as Launcher
    from prefixcap.interfaces.launching.launcher import LauncherConfig as LauncherConfig
    from prefixcap.interfaces.launching.launcher import Work as Work
    from prefixcap.interfaces.launching.launcher import WorkQueue as WorkQueue
    from prefixcap.interfaces.mapper import MapperConfig as MapperConfig
    from prefixcap.interfaces.mapper import MapperShape as MapperShape
    from prefixcap.interfaces.metric import Metric as Metric
    from prefixcap.interfaces.metric import MetricConfig as MetricConfig
    from prefixcap.interfaces.metric import Record as Record
    from prefixcap.interfaces.metric import Scale as Scale
    from prefixcap.interfaces.metric import Scores as Scores
    from prefixcap.interfaces.retrieval.prompt import PromptConfig as PromptConfig
    from prefixcap.interfaces.retrieval.prompt import Prompter as Prompter
    from prefixcap.interfaces.retrieval.retriever import Retriever as Retriever
    from prefixcap.interfaces.retrieval.retriever import RetrieverConfig as RetrieverConfig
    from prefixcap.interfaces.text_encoder import TextEncoder as TextEncoder
    from prefixcap.interfaces.tuning import Tuning as Tuning
    from prefixcap.interfaces.tuning import TuningConfig as TuningConfig
    from prefixcap.plugin.hookspecs import hookimpl as hookimpl
    from prefixcap.plugin.registry import Registry as Registry
    from prefixcap.study.analysis.compare import compare as compare
    from prefixcap.study.analysis.reader import load_study as load_study
    from prefixcap.study.definition.study import Study as Study
    from prefixcap.study.execution.runner import run_study as run_study
    from prefixcap.training.config import TrainingConfig as TrainingConfig
    from prefixcap.training.texts import TextTraining as TextTraining
    from prefixcap.training.train import train as train
    from prefixcap.util.weights import trust as trust

__version__ = "0.1.0"

_HOMES = {
    "Bridge": "interfaces.bridge",
    "BridgeConfig": "interfaces.bridge",
    "Captioner": "captioning.captioner",
    "Component": "interfaces.component",
    "Dataset": "interfaces.dataset",
    "DatasetConfig": "interfaces.dataset",
    "Decoder": "interfaces.decoder",
    "DecoderConfig": "interfaces.decoder",
    "DecodingTask": "interfaces.decoder",
    "DivergedError": "errors",
    "Encoder": "interfaces.encoder",
    "EncoderConfig": "interfaces.encoder",
    "Example": "interfaces.dataset",
    "Hypothesis": "interfaces.decoder",
    "ImageItem": "interfaces.dataset",
    "LMConfig": "interfaces.language_model",
    "LanguageModel": "interfaces.language_model",
    "Launcher": "interfaces.launching.launcher",
    "LauncherConfig": "interfaces.launching.launcher",
    "Work": "interfaces.launching.launcher",
    "WorkQueue": "interfaces.launching.launcher",
    "MapperConfig": "interfaces.mapper",
    "MapperShape": "interfaces.mapper",
    "Metric": "interfaces.metric",
    "MetricConfig": "interfaces.metric",
    "NonFiniteError": "errors",
    "PrefixcapError": "errors",
    "PromptConfig": "interfaces.retrieval.prompt",
    "Prompter": "interfaces.retrieval.prompt",
    "Record": "interfaces.metric",
    "Registry": "plugin.registry",
    "Retriever": "interfaces.retrieval.retriever",
    "RetrieverConfig": "interfaces.retrieval.retriever",
    "Scale": "interfaces.metric",
    "Scores": "interfaces.metric",
    "Study": "study.definition.study",
    "TextEncoder": "interfaces.text_encoder",
    "TextTraining": "training.texts",
    "TokenDecoder": "decoding.token_decoder",
    "TrainingConfig": "training.config",
    "Tuning": "interfaces.tuning",
    "TuningConfig": "interfaces.tuning",
    "compare": "study.analysis.compare",
    "decode": "decoding.decode",
    "encode": "captioning.encode_images",
    "evaluate": "evaluation.evaluate",
    "from_transformers": "engine.causal_lm",
    "hookimpl": "plugin.hookspecs",
    "iter_decode": "decoding.decode",
    "load_study": "study.analysis.reader",
    "run_study": "study.execution.runner",
    "train": "training.train",
    "trust": "util.weights",
}

patch_torchvision()


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"prefixcap.{_HOMES[name]}"), name)
    if name[:1].isupper():
        from prefixcap.errors import PrefixcapError
        from prefixcap.plugin.registry import default_registry

        try:
            return default_registry().class_named(name)
        except PrefixcapError as error:
            raise AttributeError(f"module 'prefixcap' has no attribute {name!r}: {error}") from None
    raise AttributeError(f"module 'prefixcap' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
