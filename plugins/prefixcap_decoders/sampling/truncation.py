"""Truncation of a distribution before a token is drawn: transformers' logits warpers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from prefixcap_decoders.logits.by_name import generation
from prefixcap_decoders.logits.processors import Processor


def truncations(
    *,
    temperature: float = 1.0,
    top_h: float = 1.0,
    top_k: float = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    typical_p: float = 1.0,
    epsilon: float = 0.0,
    eta: float = 0.0,
) -> list[Processor]:
    """Build warpers in the order of transformers' `generate`, except for neutral settings."""
    settings = [
        (temperature != 1.0, "TemperatureLogitsWarper", temperature),
        (top_h < 1.0, "TopHLogitsWarper", top_h),
        (top_k > 0, "TopKLogitsWarper", int(top_k)),
        (top_p < 1.0, "TopPLogitsWarper", top_p),
        (min_p > 0.0, "MinPLogitsWarper", min_p),
        (typical_p < 1.0, "TypicalLogitsWarper", typical_p),
        (epsilon > 0.0, "EpsilonLogitsWarper", epsilon),
        (eta > 0.0, "EtaLogitsWarper", eta),
    ]
    return [getattr(generation(), name)(value) for active, name, value in settings if active]


def truncate(warpers: Sequence[Processor], logits: Tensor) -> Tensor:
    """Apply warpers, which read no tokens, to logits (R,V)."""
    no_tokens = logits.new_empty((len(logits), 0)).long()
    for warper in warpers:
        logits = warper(no_tokens, logits)
    return logits
