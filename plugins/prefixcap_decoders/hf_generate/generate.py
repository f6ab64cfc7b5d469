"""One call of transformers' `generate` on prefixes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

# What a model's folder may recommend; its other settings could turn the search into another one.
_OF_ALL = (
    *("repetition_penalty", "no_repeat_ngram_size", "bad_words_ids", "suppress_tokens"),
    *("begin_suppress_tokens", "sequence_bias", "forced_bos_token_id", "forced_eos_token_id"),
    *("exponential_decay_length_penalty", "renormalize_logits", "min_new_tokens"),
)
_OF_SAMPLING = (
    *("temperature", "top_k", "top_p", "min_p", "top_h", "typical_p"),
    *("epsilon_cutoff", "eta_cutoff"),
)
_OF_BEAMS = ("length_penalty", "early_stopping")


def generate(
    module: Any,
    prefix: Tensor,
    settings: Mapping[str, Any],
    logits_processor: Sequence[Any] = (),
    *,
    strict: bool = False,
    others: Mapping[str, Any] | None = None,
) -> Any:
    """Continue prefixes (B,P,E) by a model's `generate`.

    The model's own generation config counts for settings that transform logits or rank beams.

    Args:
        module: A model of transformers.
        prefix: The prefixes.
        settings: Fields of a `GenerationConfig`.
        logits_processor: Processors that are called after those of the settings.
        strict: Whether to reject settings that have no effect.
        others: Further arguments of the call, such as a cache.

    Returns:
        The result of `generate`, with scores.
    """
    from transformers import GenerationConfig, LogitsProcessorList

    own = module.generation_config
    sampling = _OF_SAMPLING if settings.get("do_sample") else ()
    beams = _OF_BEAMS if (settings.get("num_beams") or 1) > 1 else ()
    inherited = {name: getattr(own, name, None) for name in (*_OF_ALL, *sampling, *beams)}
    make: Any = GenerationConfig
    config = make(**{"do_sample": False, **inherited, **settings})
    if strict:
        config.validate(strict=True)
    config.return_dict_in_generate = config.output_scores = True
    module.generation_config = config
    try:
        return module.generate(
            inputs_embeds=prefix,
            attention_mask=torch.ones(prefix.shape[:2], dtype=torch.long, device=prefix.device),
            generation_config=config,
            logits_processor=LogitsProcessorList(logits_processor),
            trust_remote_code=False,
            **(others or {}),
        )
    finally:
        module.generation_config = own
