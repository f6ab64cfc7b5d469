"""Small models of the families of language models that people use, as folders for `hf:model=`.

The weights are drawn widely enough that a small model depends on everything that it reads, and the
settings are those by which the families differ: tied and untied embeddings, grouped heads, partial
rotary embeddings, parallel residuals, scaled embeddings, soft-capped logits, sliding windows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

WIDTH, WINDOW = 32, 16
LETTERS = [*"abcdefghijklmnopqrstuvwxyz. ?", "th", "<end>", "<start>"]
SIZE, END, START = len(LETTERS), LETTERS.index("<end>"), LETTERS.index("<start>")

_COMMON: dict[str, Any] = {
    "vocab_size": SIZE,
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "bos_token_id": START,
    "eos_token_id": END,
    "pad_token_id": None,
}
_WIDE = {**_COMMON, "intermediate_size": 48}
_GROUPED = {**_WIDE, "num_key_value_heads": 2}
_GEMMA = {**_GROUPED, "head_dim": 8}
_WINDOWED = {
    "sliding_window": WINDOW,
    "layer_types": ["sliding_attention", "full_attention"],
}
_GPT2 = {"n_embd": WIDTH, "n_layer": 2, "n_head": 4, "n_positions": 64, "vocab_size": SIZE}
_GPT2 |= {"bos_token_id": END, "eos_token_id": END}
_OPT = {**_COMMON, "ffn_dim": 48, "word_embed_proj_dim": WIDTH}

# A name, the class of the model, and its settings.
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2LMHeadModel", _GPT2),
    "gpt2-untied": ("GPT2LMHeadModel", {**_GPT2, "tie_word_embeddings": False}),
    "opt": ("OPTForCausalLM", _OPT),
    "gpt-neox": ("GPTNeoXForCausalLM", _WIDE),
    "gpt-neox-serial": ("GPTNeoXForCausalLM", {**_WIDE, "use_parallel_residual": False}),
    "llama": ("LlamaForCausalLM", _GROUPED),
    "llama-tied": ("LlamaForCausalLM", {**_GROUPED, "tie_word_embeddings": True}),
    "mistral": ("MistralForCausalLM", {**_GROUPED, "sliding_window": WINDOW}),
    "qwen2": ("Qwen2ForCausalLM", _GROUPED),
    "qwen3": ("Qwen3ForCausalLM", {**_GROUPED, "head_dim": 8}),
    "gemma": ("GemmaForCausalLM", _GEMMA),
    "gemma2": (
        "Gemma2ForCausalLM",
        {
            **_GEMMA,
            **_WINDOWED,
            "query_pre_attn_scalar": 8,
            "attn_logit_softcapping": 2.0,
            "final_logit_softcapping": 5.0,
        },
    ),
    "gemma3": ("Gemma3ForCausalLM", {**_GEMMA, **_WINDOWED, "query_pre_attn_scalar": 8}),
    "phi": ("PhiForCausalLM", {**_WIDE, "qk_layernorm": True}),
    "phi3": (
        "Phi3ForCausalLM",
        {
            **_GROUPED,
            "sliding_window": WINDOW,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e4,
                "partial_rotary_factor": 0.5,
            },
        },
    ),
}


def family(name: str, **options: Any) -> Any:
    """Build a family's small model, always the same, without changing the random state."""
    kind, settings = FAMILIES[name]
    maker: Any = getattr(transformers, kind)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        config = maker.config_class(**settings | options)
        model = maker(config).eval()
        for parameter in model.parameters():
            if parameter.ndim == 1:  # gains and biases, which would be 1 or 0
                parameter += 0.1 * torch.randn_like(parameter)
            else:
                parameter.copy_(0.3 * torch.randn_like(parameter))
        return model


def save_family(folder: Path, name: str, *, starts: bool = False, **options: Any) -> Any:
    """Save a family's model with a tokenizer of letters, which has no pad token.

    The tokenizer has a beginning-of-text token, and puts it before each text, if `starts`.
    """
    model = family(name, **options)
    model.save_pretrained(folder)
    save_letters(folder, starts=starts)
    return model


def save_letters(folder: Path, *, starts: bool = False) -> None:
    """Save a tokenizer of single letters, which has no pad token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    letters = {letter: number for number, letter in enumerate(LETTERS)}
    tokenizer = Tokenizer(models.WordLevel(letters, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    special = {"eos_token": "<end>", "unk_token": "?"}
    if starts:
        special["bos_token"] = "<start>"
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<start> $A", pair="<start> $A $B", special_tokens=[("<start>", START)]
        )
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(
        folder
    )


def prefixes(images: int, length: int = 3, seed: int = 0) -> torch.Tensor:
    """Draw prefixes (B,P,E)."""
    stream = torch.Generator().manual_seed(seed)
    return torch.randn(images, length, WIDTH, generator=stream)
