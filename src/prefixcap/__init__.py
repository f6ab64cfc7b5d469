"""prefixcap: a plugin-based research library for image captioning with a prefix.

Everything public is here, loaded when first asked for: `prefixcap.decode`, `prefixcap.Captioner`,
`prefixcap.from_transformers`, and every config class by its name, such as `prefixcap.Greedy`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefixcap.captioner import Captioner as Captioner
    from prefixcap.config import Component as Component
    from prefixcap.decoding import TokenDecoder as TokenDecoder
    from prefixcap.decoding import decode as decode
    from prefixcap.decoding import iter_decode as iter_decode
    from prefixcap.engine.causal import from_transformers as from_transformers
    from prefixcap.errors import PrefixcapError as PrefixcapError
    from prefixcap.hookspecs import hookimpl as hookimpl
    from prefixcap.kinds import DecoderConfig as DecoderConfig
    from prefixcap.kinds import Hypothesis as Hypothesis
    from prefixcap.registry import Registry as Registry
    from prefixcap.training.config import TrainingConfig as TrainingConfig

__version__ = "0.1.0"

_HOMES = {
    "Captioner": "captioner",
    "Component": "config",
    "Decoder": "kinds",
    "DecoderConfig": "kinds",
    "Dataset": "kinds",
    "DatasetConfig": "kinds",
    "Encoder": "kinds",
    "EncoderConfig": "kinds",
    "Example": "kinds",
    "Hypothesis": "kinds",
    "ImageItem": "kinds",
    "LMConfig": "kinds",
    "LanguageModel": "kinds",
    "MapperConfig": "kinds",
    "MapperShape": "kinds",
    "Metric": "kinds",
    "MetricConfig": "kinds",
    "PrefixcapError": "errors",
    "Record": "kinds",
    "Registry": "registry",
    "Scores": "kinds",
    "Task": "decoding",
    "TextSide": "similarity",
    "TokenDecoder": "decoding",
    "TrainingConfig": "training",
    "Tuning": "kinds",
    "TuningConfig": "kinds",
    "decode": "decoding",
    "from_transformers": "engine.causal",
    "hookimpl": "hookspecs",
    "iter_decode": "decoding",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        if _HOMES[name].startswith("engine"):
            import_module("prefixcap.runtime").prepare()
        return getattr(import_module(f"prefixcap.{_HOMES[name]}"), name)
    if name[:1].isupper():
        from prefixcap.errors import PrefixcapError
        from prefixcap.registry import Registry

        try:
            return Registry().class_named(name)
        except PrefixcapError as error:
            raise AttributeError(f"module 'prefixcap' has no attribute {name!r}: {error}") from None
    raise AttributeError(f"module 'prefixcap' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
