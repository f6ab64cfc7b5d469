"""Small random models of several architectures, and their uncached output."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from torch import Tensor

VOCABULARY, WIDTH, PREFIX = 37, 32, 3

_COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
    # With the usual spread of weights, a small model hardly depends on its input.
    "initializer_range": 0.3,
}
_GROUPED: dict[str, Any] = {**_COMMON, "num_key_value_heads": 2}


def gpt2(**options: Any) -> Any:
    config: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "n_embd": WIDTH,
        "n_layer": 2,
        "n_head": 4,
        "n_positions": 64,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "initializer_range": 0.3,
    }
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**config | options))


def opt(**options: Any) -> Any:
    config = {key: value for key, value in _COMMON.items() if "range" not in key}
    del config["intermediate_size"]
    config |= {"ffn_dim": 48, "word_embed_proj_dim": WIDTH, "init_std": 0.3}
    return transformers.OPTForCausalLM(transformers.OPTConfig(**config | options))


def llama(**options: Any) -> Any:
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**_GROUPED | options))


def qwen2(**options: Any) -> Any:
    return transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**_GROUPED | options))


def qwen3(**options: Any) -> Any:
    config = transformers.Qwen3Config(**_GROUPED | {"head_dim": 8} | options)
    return transformers.Qwen3ForCausalLM(config)


def mistral(**options: Any) -> Any:
    config = transformers.MistralConfig(**_GROUPED | {"sliding_window": None} | options)
    return transformers.MistralForCausalLM(config)


def gpt_neox(**options: Any) -> Any:
    return transformers.GPTNeoXForCausalLM(transformers.GPTNeoXConfig(**_COMMON | options))


def bloom(**options: Any) -> Any:
    config: dict[str, Any] = {"vocab_size": VOCABULARY, "hidden_size": WIDTH, "n_layer": 2}
    config |= {"n_head": 4, "initializer_range": 0.3}
    return transformers.BloomForCausalLM(transformers.BloomConfig(**config | options))


def gpt_neo(**options: Any) -> Any:
    config: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": WIDTH,
        "num_layers": 2,
        "num_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 64,
        "attention_types": [[["global", "local"], 1]],
        "bos_token_id": 0,
        "eos_token_id": 0,
        "initializer_range": 0.3,
    }
    return transformers.GPTNeoForCausalLM(transformers.GPTNeoConfig(**config | options))


def windowed(**options: Any) -> Any:
    return mistral(**{"sliding_window": 4} | options)


def lfm2(**options: Any) -> Any:
    kinds = {"layer_types": ["conv", "full_attention"], "conv_L_cache": 3}
    return transformers.Lfm2ForCausalLM(transformers.Lfm2Config(**_GROUPED | kinds | options))


def mamba(**options: Any) -> Any:
    config = {"vocab_size": VOCABULARY, "hidden_size": WIDTH, "num_hidden_layers": 2}
    return transformers.MambaForCausalLM(transformers.MambaConfig(**config | options))


def recurrent_gemma(**options: Any) -> Any:
    config = _GROUPED | {"num_hidden_layers": 3, "lru_width": WIDTH, "attention_window_size": 8}
    config = transformers.RecurrentGemmaConfig(**config | options)
    return transformers.RecurrentGemmaForCausalLM(config)


def minimax(**options: Any) -> Any:
    config = _GROUPED | {"head_dim": 8, "num_local_experts": 2, "block_size": 8}
    config["layer_types"] = ["linear_attention", "full_attention"]
    return transformers.MiniMaxForCausalLM(transformers.MiniMaxConfig(**config | options))


def bert(**options: Any) -> Any:
    return transformers.BertLMHeadModel(transformers.BertConfig(**_COMMON | options))


_MAKERS = (
    *(gpt2, opt, llama, qwen2, qwen3, mistral, gpt_neox, bloom),
    *(gpt_neo, windowed, lfm2, mamba, recurrent_gemma, minimax, bert),
)
MAKERS = {maker.__name__: maker for maker in _MAKERS}


def made(name: str, **options: Any) -> Any:
    """Build the model of that name, always the same, without changing the global random state."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        model = MAKERS[name](**options).eval()
        for parameter in model.parameters():
            # biases start at 0 and gains at 1: a network that ignores them would pass
            if parameter.ndim == 1:
                parameter += 0.1 * torch.randn_like(parameter)
        return model


def prefixes(images: int, length: int = PREFIX, seed: int = 0) -> Tensor:
    stream = torch.Generator().manual_seed(seed)
    return torch.randn(images, length, WIDTH, generator=stream)


@torch.no_grad()
def uncached(model: Any, prefix: Tensor, rows: list[tuple[int, ...]], images: list[int]) -> Any:
    """Run each row (R) from its prefix without any cache; return the last position's output."""
    logits, hidden = [], []
    for image, row in zip(images, rows, strict=True):
        text = model.get_input_embeddings()(torch.tensor(row, dtype=torch.long))
        inputs = torch.cat([prefix[image], text])[None].to(model.dtype)
        result = model(inputs_embeds=inputs, use_cache=False, output_hidden_states=True)
        logits.append(result.logits[0, -1].float())
        hidden.append([layer[0, -1] for layer in result.hidden_states])
    return torch.stack(logits), [torch.stack(layer) for layer in zip(*hidden, strict=True)]
