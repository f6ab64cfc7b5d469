"""Options of transformers' `generate`: those that work on prefixes, and why the others do not."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import torch

from prefixcap.errors import PrefixcapError, nearest, shown
from prefixcap_decoders.hf_generate.config import HFGenerate
from prefixcap_decoders.hf_generate.generate import generate
from prefixcap_decoders.logits.by_name import key_value


class Values(NamedTuple):
    """The values that an option may have: their description, and a test of a parsed value."""

    text: str
    contain: Callable[[Any], bool]


def _integers(minimum: int) -> Values:
    return Values(
        f"an integer of at least {minimum}",
        lambda value: type(value) is int and value >= minimum,
    )


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


_CACHES = ("dynamic", "static", "offloaded", "offloaded_static", "quantized")
_FLAG = Values("true or false", lambda value: isinstance(value, bool))
_LIST = Values("a list in brackets", lambda value: isinstance(value, list))
_NUMBER = Values("a number", _is_number)
_ABOVE_0 = Values("a number above 0", lambda value: _is_number(value) and value > 0)
_SHARE = Values("a number from 0 to 1", lambda value: _is_number(value) and 0 <= value <= 1)

ACCEPTED: Mapping[str, Values] = {
    "bad_words_ids": _LIST,
    "begin_suppress_tokens": _LIST,
    "cache_implementation": Values(f"one of {', '.join(_CACHES)}", lambda value: value in _CACHES),
    "disable_compile": _FLAG,
    "do_sample": _FLAG,
    "early_stopping": Values(
        "true, false or never", lambda value: isinstance(value, bool) or value == "never"
    ),
    "epsilon_cutoff": _SHARE,
    "eta_cutoff": _SHARE,
    "exponential_decay_length_penalty": Values(
        "a start and a factor in parentheses", lambda value: isinstance(value, list | tuple)
    ),
    "forced_bos_token_id": _integers(0),
    "forced_eos_token_id": _integers(0),
    "length_penalty": _NUMBER,
    "min_new_tokens": _integers(0),
    "min_p": _SHARE,
    "no_repeat_ngram_size": _integers(0),
    "num_beams": _integers(1),
    "renormalize_logits": _FLAG,
    "repetition_penalty": _ABOVE_0,
    "sequence_bias": Values("a list or a dictionary", lambda value: isinstance(value, list | dict)),
    "suppress_tokens": _LIST,
    "temperature": _ABOVE_0,
    "top_h": _SHARE,
    "top_k": _integers(0),
    "top_p": _SHARE,
    "typical_p": _SHARE,
    "watermarking_config": Values("a dictionary", lambda value: isinstance(value, dict)),
}
"""The options that work on prefixes.

`generate` takes some values that make no sense without a word; the others are tried on a model."""

_LENGTH = "the length of captions is a setting of every decoder: set --max-new-tokens"
_PROMPT = "it reads the tokens of a prompt, and a prefix is embeddings, which have none"
_ASSISTED = "it belongs to assisted generation: use the decoder speculative"
_GUIDANCE = "it needs a prompt without the image: use the decoder guidance"
_RETURNED = "it changes only what generate returns besides captions, which is not used"
_STOP = "captions end at the stop tokens of the training"
_OBJECT = "it is an object, which cannot be written as text"
_BATCHING = "it belongs to the continuous batching of token ids, and a prefix is embeddings"
_CODE = "it would run code of a file or of the hub, which prefixcap never does"
_MOVED = "transformers has moved it into code on the hub, which prefixcap does not run: use"

REFUSED: Mapping[str, str] = {
    "assistant_confidence_threshold": _ASSISTED,
    "assistant_early_exit": _ASSISTED,
    "assistant_ensemble_weight": _ASSISTED,
    "assistant_lookbehind": _ASSISTED,
    "assistant_model": _ASSISTED,
    "attention_mask": "prefixes have no padding to mask",
    "cache_config": "only a quantized cache has one, and its defaults are used",
    "bos_token_id": "a caption begins with the prefix: set hf:prepend for tokens before it",
    "compile_config": _OBJECT,
    "constraints": f"{_MOVED} the decoder constrained",
    "continuous_batching_config": _BATCHING,
    "custom_generate": _CODE,
    "decoder_start_token_id": "it is for models with an encoder of text",
    "diversity_penalty": f"{_MOVED} the decoder diverse-beam",
    "dola_layers": f"{_MOVED} the decoder dola",
    "encoder_no_repeat_ngram_size": _PROMPT,
    "encoder_repetition_penalty": _PROMPT,
    "eos_token_id": _STOP,
    "force_words_ids": f"{_MOVED} the decoder constrained",
    "generation_config": _OBJECT,
    "guidance_scale": _GUIDANCE,
    "inputs": _PROMPT,
    "inputs_embeds": "the decoder sets it to the prefixes",
    "is_assistant": _ASSISTED,
    "logits_processor": f"{_OBJECT}: most decoders have a setting processors",
    "low_memory": f"{_MOVED} the decoder contrastive",
    "max_length": _LENGTH,
    "max_cache_len": "generate makes a cache that is as long as needed",
    "max_matching_ngram_size": _ASSISTED,
    "max_new_tokens": _LENGTH,
    "max_time": "captions would depend on the speed of the machine",
    "min_length": "it counts the tokens of a prompt too: set min_new_tokens",
    "negative_prompt_attention_mask": _GUIDANCE,
    "negative_prompt_ids": _GUIDANCE,
    "num_assistant_tokens": _ASSISTED,
    "num_assistant_tokens_schedule": _ASSISTED,
    "num_beam_groups": f"{_MOVED} the decoder diverse-beam",
    "num_return_sequences": "set n=... for several captions per image",
    "output_attentions": _RETURNED,
    "output_hidden_states": _RETURNED,
    "output_logits": _RETURNED,
    "output_scores": _RETURNED,
    "pad_token_id": "captions end before any padding, so it has no effect",
    "penalty_alpha": f"{_MOVED} the decoder contrastive",
    "prefill_chunk_size": _PROMPT,
    "prefix_allowed_tokens_fn": f"{_OBJECT}: use the decoder constrained",
    "prompt_lookup_num_tokens": _ASSISTED,
    "remove_invalid_values": "it would hide logits that are not finite",
    "return_dict_in_generate": _RETURNED,
    "speculation_type": _ASSISTED,
    "stop_strings": _STOP,
    "stopping_criteria": _OBJECT,
    "streamer": _OBJECT,
    "synced_gpus": "a study runs on one device",
    "target_lookbehind": _ASSISTED,
    "token_healing": _PROMPT,
    "transformers_version": "it is a note of the version, and changes nothing",
    "trust_remote_code": _CODE,
    "use_cache": "generate always uses a cache for prefixes",
    "use_mtp": _ASSISTED,
}

_CONSTANTS = {"true": True, "false": False, "none": None}
_TOKENS = (
    *("bad_words_ids", "suppress_tokens", "begin_suppress_tokens", "sequence_bias"),
    *("forced_bos_token_id", "forced_eos_token_id"),
)
_WIDTH, _TRIED_TOKENS, _SPARE_TOKENS = 4, 3, 32
# More than any vocabulary has; the model on which options are tried has embeddings for all of them.
_MOST_TOKENS = 2**22


def options_of(config: HFGenerate) -> dict[str, Any]:
    """Parse the options of a config, and try them on a small model.

    Raises:
        PrefixcapError: If an option cannot be used on prefixes, or `generate` rejects its value.
    """
    return dict(_parsed(config.options, config.n))


def check_tokens(options: Mapping[str, Any], vocab_size: int) -> None:
    """Raise a `PrefixcapError` if an option names a token that a vocabulary does not have."""
    for name in _TOKENS:
        unknown = [t for t in _tokens_of(name, options.get(name)) if not 0 <= t < vocab_size]
        if unknown:
            raise PrefixcapError(
                f"hf-generate: {name} names the token {unknown[0]}, and the language model has "
                f"{vocab_size} tokens (0 to {vocab_size - 1})"
            )


@cache
def _parsed(texts: tuple[str, ...], n: int) -> dict[str, Any]:
    options = dict(map(_option, texts))
    for name, value in options.items():
        _check_name(name)
        if value is not None and not ACCEPTED[name].contain(value):
            raise PrefixcapError(
                f"hf-generate: {name} must be {ACCEPTED[name].text}, not {value!r}"
            )
    if options.get("watermarking_config") is not None:
        options["watermarking_config"] = _watermark(options["watermarking_config"])
    _try_out(options, n)
    return options


def _option(text: str) -> tuple[str, Any]:
    key, value = key_value(text, f"hf-generate: the option {text!r}")
    return key, _CONSTANTS.get(str(value).lower(), value)


def _check_name(name: str) -> None:
    if name in REFUSED:
        raise PrefixcapError(f"hf-generate: {name} cannot be set: {REFUSED[name]}")
    if name in ACCEPTED:
        return
    hint = nearest(name, ACCEPTED)
    if name in generate_options():
        raise PrefixcapError(
            f"hf-generate: {name} is new in this version of transformers, and prefixcap does not "
            f"know whether it works on prefixes{hint}"
        )
    raise PrefixcapError(f"hf-generate: transformers' generate has no option {name!r} to set{hint}")


def generate_options() -> set[str]:
    """Return the names of all options of the installed `generate`."""
    from transformers import generation as module

    generation: Any = module
    fields = {name for name in vars(generation.GenerationConfig()) if not name.startswith("_")}
    arguments = set(inspect.signature(generation.GenerationMixin.generate).parameters)
    return fields | arguments - {"self", "kwargs"}


def _watermark(value: Any) -> Any:
    from transformers import GenerationConfig

    settings: Any = GenerationConfig
    try:
        return settings(watermarking_config=dict(value)).watermarking_config
    except Exception as error:  # its class is chosen by the keys, and each has errors of its own
        raise PrefixcapError(f"hf-generate: watermarking_config={value!r}: {error}") from error


def _try_out(options: Mapping[str, Any], n: int) -> None:
    """Run `generate` on a small model, so that wrong values are found before any training."""
    from transformers import GPT2Config, GPT2LMHeadModel

    tokens = [token for name in _TOKENS for token in _tokens_of(name, options.get(name))]
    if (largest := max([0, *tokens])) >= _MOST_TOKENS:
        raise PrefixcapError(f"hf-generate: no language model has the token {shown(largest)}")
    greedy = not options.get("do_sample") and options.get("num_beams", 1) == 1
    settings = {
        "num_return_sequences": 1 if greedy else n,
        "max_new_tokens": _TRIED_TOKENS,
        "eos_token_id": [0],
        "pad_token_id": 0,
        **options,
    }
    size: dict[str, Any] = {"n_positions": 32, "n_embd": _WIDTH, "n_layer": 1, "n_head": 1}
    small = GPT2Config(vocab_size=largest + _SPARE_TOKENS, bos_token_id=0, eos_token_id=0, **size)
    try:
        with torch.random.fork_rng(devices=[]), _silenced():
            module: Any = GPT2LMHeadModel(small)
            generate(module.eval(), torch.zeros(1, 2, _WIDTH), settings, strict=True)
    except Exception as error:  # wrong values fail anywhere in transformers and torch
        reason = " ".join(str(error).split()) or type(error).__name__
        reason = reason.partition(" If you're using a pretrained model")[0][:300]
        given = "+".join(f"{name}={value}" for name, value in options.items())
        raise PrefixcapError(
            f"hf-generate: transformers' generate rejects {given}: {reason}"
        ) from error


@contextmanager
def _silenced() -> Iterator[None]:
    from transformers.utils import logging as module

    logging: Any = module
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)


def _tokens_of(name: str, value: Any) -> Iterator[int]:
    """Yield the tokens in lists and keys, however deep, without the biases beside them."""
    if isinstance(value, int):
        yield value
    elif isinstance(value, dict | list | tuple):
        parts = list(value)
        if name == "sequence_bias" and isinstance(value, list | tuple) and len(parts) == 2:
            tokens, bias = parts
            if isinstance(tokens, list | tuple) and isinstance(bias, int | float):
                parts = [tokens]
        for part in parts:
            yield from _tokens_of(name, part)
