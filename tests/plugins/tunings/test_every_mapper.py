"""Each tuning trains with each mapper, and the result captions."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch
from core.training.world import gpt2, world
from torch import Tensor

from prefixcap.interfaces.language_model import LanguageModel
from prefixcap.plugin.registry import default_registry
from prefixcap.training.config import TrainingConfig
from prefixcap.training.train import train

MAPPERS = {
    "begin": "begin",
    "deep": "deep:mapper=linear,rank=2",
    "linear": "linear",
    "llava": "llava:pool=true",
    "mlp": "mlp:hidden=4",
    "qformer": "qformer:width=8,heads=2,num_layers=2",
    "transformer": "transformer:heads=2,num_layers=1,clip_length=2",
}
CONFIG = TrainingConfig(epochs=1, batch_size=8, max_train_captions=8, prefix_scale=None)


@cache
def lm() -> LanguageModel:
    return gpt2()


@cache
def tokens() -> Tensor:
    """Three tokens (B,N,D) for each image of the world."""
    return torch.stack([world(4)[0]] * 3, 1)


@pytest.mark.parametrize("tuning", default_registry().names("tuning"))
@pytest.mark.parametrize("mapper", default_registry().names("mapper"))
def test_a_tuning_trains_with_a_mapper(tuning: str, mapper: str) -> None:
    spec, texts = MAPPERS.get(mapper, mapper), world(4)[1]
    length = 1 if mapper == "begin" else 2
    captioner = train(lm(), spec, length, tuning, tokens(), texts, config=CONFIG)
    nothing = mapper == "begin" and tuning == "frozen"
    losses = captioner.history["loss"]
    assert len(losses) == (0 if nothing else 1)
    assert all(map(math.isfinite, losses))
    for decoder in ("greedy", "beam:num_beams=2"):
        captions = captioner.caption(features=tokens(), decoder=decoder, max_new_tokens=3)
        assert len(captions) == 4
        assert all(math.isfinite(best.logprob) for best, *_ in captions)
