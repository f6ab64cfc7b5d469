"""Counted operations compared with formulas."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from prefixcap.decoding.decode import decode
from prefixcap.engine.causal_lm import from_transformers
from prefixcap.interfaces.language_model import LanguageModel
from prefixcap.interfaces.mapper import MapperConfig
from prefixcap.interfaces.tuning import TuningConfig
from prefixcap.plugin.registry import default_registry
from prefixcap.training.batches import CaptionBatch, TokenizedCaption
from prefixcap.training.config import TrainingConfig
from prefixcap.training.initialization import build_prefixer, prefix_shape
from prefixcap.training.trainer import Trainer
from prefixcap.util.flops import counting

WIDTH, LAYERS, HEADS, WORDS = 64, 2, 4, 300
P, D = 5, 32
LAYER = 12 * WIDTH**2
"""The weights of a GPT-2 layer: 3 for queries, keys and values, 1 for the output, 4 and 4."""


def gpt2(dtype: torch.dtype = torch.float32) -> LanguageModel:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=WORDS, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS, n_positions=64,
        bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return from_transformers(GPT2LMHeadModel(config).to(dtype))


def layers(positions: int) -> int:
    return 2 * positions * LAYERS * LAYER


def attention(queries: int, keys: int) -> int:
    """Scores and sums: each a product of (queries, width) and (keys, width), over the heads."""
    return LAYERS * 2 * 2 * queries * keys * WIDTH


def vocabulary(positions: int) -> int:
    return 2 * positions * WIDTH * WORDS


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("beams", [1, 3])
def test_decoding_flops_match_the_formula(dtype: torch.dtype, beams: int) -> None:
    lm, images, new = gpt2(dtype), 2, 6
    spec = "greedy" if beams == 1 else f"beam:num_beams={beams}"
    prefix = torch.randn(images, P, WIDTH, generator=torch.Generator().manual_seed(1)).to(dtype)

    def run() -> None:
        decode(lm, prefix, spec, max_new_tokens=new, stop_ids=[])

    run()  # the engine tests a new model once
    with counting() as result:
        run()
    # The last layer's output is computed for the last position only.
    unwanted = 2 * (P - 1) * 9 * WIDTH**2
    expected = layers(P) - unwanted + attention(P, P) + vocabulary(1)
    for step in range(1, new):
        expected += beams * (layers(1) + attention(1, P + step) + vocabulary(1))
    assert result.count == pytest.approx(images * expected, rel=0.05)


@pytest.mark.parametrize("per_image", [1, 4])
@pytest.mark.parametrize("tuning", ["frozen", "full"])
def test_training_flops_match_the_formula(tuning: str, per_image: int) -> None:
    lm = gpt2()
    registry = default_registry()
    features, config = torch.randn(4, D), registry.parse(TuningConfig, tuning)
    mapper = registry.parse(MapperConfig, "linear")
    shape = prefix_shape(lm, mapper, config, P, features)
    config.build().apply(lm.module, shape)
    prefixer = build_prefixer(lm, mapper, shape, features, TrainingConfig())
    trainer = Trainer(lm, prefixer, TrainingConfig(), 10)
    captions = [
        TokenizedCaption(image, tuple(torch.randint(0, WORDS, (7,)).tolist()))
        for image in range(4)
        for _ in range(per_image)
    ]
    batch = CaptionBatch.of(captions)
    with torch.no_grad():
        trainer.loss(features, batch)  # a new model is tried once
    with counting() as result:
        trainer.step(features, batch)
    positions = P + per_image * 6
    forward = 4 * (layers(positions) + attention(positions, positions))
    # the captions of an image begin with the same logits
    words = 4 * vocabulary(1 + per_image * 6)
    weights = 4 * layers(positions)
    mapping = 2 * 4 * D * P * WIDTH
    # Backward, the gradients of inputs cost as much as forward, and so do those of trained weights.
    expected = 2 * (forward + words) + 4 * attention(positions, positions) + 2 * mapping
    if tuning == "full":
        expected += weights + words
    assert result.count == pytest.approx(expected, rel=0.05)


def test_the_count_of_a_layer_is_exact() -> None:
    layer: Any = torch.nn.Linear(7, 5)
    with counting() as result:
        layer(torch.randn(3, 7)).sum().backward()
    assert result.count == 2 * 3 * 7 * 5 * 2  # the inputs need no gradient
