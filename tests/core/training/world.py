"""A world of two kinds of images, and the smallest language model that can describe it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from prefixcap.captioning.captioner import Captioner
from prefixcap.interfaces.language_model import LanguageModel
from prefixcap.training.config import TrainingConfig
from prefixcap.training.train import train

WORDS = ("a", "dog", "cat", "runs", "sits", "red", "blue", ".", "two", "on", "grass", "snow")
COLOURS = ("red", "blue")


class WordTokenizer:
    """The smallest tokenizer that satisfies transformers: one id per word."""

    eos_token_id = len(WORDS)

    def encode(self, text: str, **_: Any) -> list[int]:
        words = text.lower().replace("~.", " ").replace(".", " .").split()
        return [WORDS.index(word) for word in words]

    def decode(self, ids: list[int], **_: Any) -> str:
        return " ".join(WORDS[i] for i in ids if i < len(WORDS))

    def get_vocab(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(WORDS)}


def gpt2(dropout: float = 0.0, eos: bool = True) -> LanguageModel:
    from transformers import GPT2Config, GPT2LMHeadModel

    from prefixcap.engine.causal_lm import from_transformers

    with torch.random.fork_rng():
        torch.manual_seed(7)
        config = GPT2Config(
            vocab_size=len(WORDS) + 1,
            n_embd=16,
            n_layer=1,
            n_head=2,
            n_positions=64,
            resid_pdrop=dropout,
            embd_pdrop=dropout,
            attn_pdrop=dropout,
            bos_token_id=None,
            eos_token_id=None,
        )
        model = GPT2LMHeadModel(config)
    tokenizer = WordTokenizer()
    if not eos:
        tokenizer.eos_token_id = None  # type: ignore[assignment]
    return from_transformers(model, tokenizer)


def world(images: int = 24) -> tuple[Tensor, list[list[str]]]:
    """Features of two kinds of images, whose captions name the kind."""
    generator = torch.Generator().manual_seed(1)
    sort = torch.arange(images) % 2
    features = torch.randn(images, 6, generator=generator) * 0.1
    features[:, 0] += sort * 2.0 - 1.0
    captions = [[f"a {COLOURS[s]} dog runs", f"two {COLOURS[s]} cat sits"] for s in sort.tolist()]
    return features, captions


def trained(lm: LanguageModel | None = None, tuning: str = "full", **options: Any) -> Captioner:
    features, captions = world()
    settings = {"epochs": 3, "batch_size": 8, "learning_rate": 1e-2, "lm_lr_scale": 1.0, **options}
    extra = {
        k: settings.pop(k) for k in ("progress", "seed", "on_epoch", "checkpoint") if k in settings
    }
    return train(
        lm or gpt2(),
        "mlp",
        3,
        tuning,
        features,
        captions,
        config=TrainingConfig(**settings),
        **extra,
    )


def weights(model: Captioner) -> list[Tensor]:
    return [*model.prefixer.state_dict().values(), *model.lm.module.parameters()]
