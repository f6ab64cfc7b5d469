"""Small models with random weights."""

from __future__ import annotations

from typing import Any

import torch
from typing_extensions import override

from prefixcap.engine.causal_lm import CausalLM
from prefixcap.testing.table_lm import LetterTokenizer, TableLM
from prefixcap.testing.word_encoder import WordsEncoder


def small_model(family: str, seed: int = 0, layers: int = 2) -> Any:
    from transformers import (
        BloomConfig,
        BloomForCausalLM,
        GPT2Config,
        GPT2LMHeadModel,
        LlamaConfig,
        LlamaForCausalLM,
    )

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if family == "gpt2":
            gpt2 = GPT2Config(
                vocab_size=23, n_positions=64, n_embd=16, n_layer=layers, n_head=2,
                bos_token_id=None, eos_token_id=None, initializer_range=0.6,
            )  # fmt: skip
            model: Any = GPT2LMHeadModel(gpt2)
        elif family == "bloom":
            bloom = BloomConfig(
                vocab_size=23, hidden_size=16, n_layer=layers, n_head=2, initializer_range=0.6,
                bos_token_id=None, eos_token_id=None,
            )  # fmt: skip
            model = BloomForCausalLM(bloom)
        else:
            llama = LlamaConfig(
                vocab_size=23, max_position_embeddings=64, hidden_size=16, num_hidden_layers=layers,
                num_attention_heads=4, num_key_value_heads=2, intermediate_size=32,
                bos_token_id=None, eos_token_id=None, initializer_range=0.6,
            )  # fmt: skip
            model = LlamaForCausalLM(llama)
    return model.eval()


class KnownLetters(LetterTokenizer):
    """Leaves out letters that are no token."""

    @override
    def encode(self, text: str) -> list[int]:
        return super().encode("".join(letter for letter in text if letter in self.letters))


class LetterLM(CausalLM):
    """A language model of transformers with a letter for each token but the last."""

    @property
    @override
    def tokenizer(self) -> LetterTokenizer:
        return KnownLetters(self.vocab_size)


def letter_model(vocabulary: int) -> LetterLM:
    """Build a GPT-2 with 32 positions whose last token ends a text."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=vocabulary, n_positions=32, n_embd=16, n_layer=2, n_head=2,
        bos_token_id=vocabulary - 1, eos_token_id=vocabulary - 1, initializer_range=0.6,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(4)
        return LetterLM(GPT2LMHeadModel(config))


class Turned(TableLM):
    """A table model whose tokens have the letters in reverse order."""

    @property
    def tokenizer(self) -> LetterTokenizer:
        result = LetterTokenizer(self.vocab_size)
        result.letters = result.letters[::-1]
        return result


def prefixes(batch: int, length: int = 3, width: int = 16, seed: int = 1) -> torch.Tensor:
    stream = torch.Generator().manual_seed(seed)
    return torch.randn(batch, length, width, generator=stream)


def seen(images: int, width: int = 3) -> dict[str, Any]:
    """Return the features (B,D) of images and their encoder, for decoders that compare captions."""
    stream = torch.Generator().manual_seed(5)
    return {"features": torch.rand(images, width, generator=stream), "encoder": WordsEncoder(width)}
