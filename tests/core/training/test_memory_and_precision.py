"""Settings that change the memory and the precision of a training, not what it trains."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from core.training.world import gpt2, trained, weights
from transformers.models.gpt2.modeling_gpt2 import GPT2MLP

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.language_model import LanguageModel
from prefixcap.plugin.registry import default_registry
from prefixcap.study.definition import options
from prefixcap.testing.table_lm import TableLM
from prefixcap.training.config import TrainingConfig
from prefixcap.training.recipes import RECIPES
from prefixcap.training.trainer import checkpointed


def close(one: Any, other: Any, tolerance: float) -> bool:
    pairs = zip(weights(one), weights(other), strict=True)
    return all(torch.allclose(a.float(), b.float(), atol=tolerance) for a, b in pairs)


@pytest.mark.parametrize("grouped", [False, True])
def test_parts_of_a_batch_take_the_step_of_the_whole_batch(grouped: bool) -> None:
    whole = trained(group_captions=grouped, epochs=1)
    parts = trained(group_captions=grouped, epochs=1, micro_batch_size=3)
    assert parts.history["loss"] == pytest.approx(whole.history["loss"], abs=1e-5)
    assert close(parts, whole, 1e-4)
    assert not close(trained(epochs=1, seed=1), whole, 1e-2)


@pytest.mark.parametrize("tuning", ["frozen", "full", "lora:dropout=0.3", "adapter:width=2"])
def test_layers_that_are_computed_again_take_the_same_step(
    tuning: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    forward = GPT2MLP.forward

    def counted(self: Any, *args: Any, **named: Any) -> Any:
        calls.append(1)
        return forward(self, *args, **named)

    monkeypatch.setattr(GPT2MLP, "forward", counted)
    kept = trained(gpt2(), tuning, epochs=1)
    once = len(calls)
    again = trained(gpt2(), tuning, epochs=1, gradient_checkpointing=True)
    steps = len(kept.history["loss"])
    assert len(calls) == 2 * once + steps
    assert again.history["loss"] == pytest.approx(kept.history["loss"], abs=1e-6)
    assert close(again, kept, 1e-5)
    assert not any("forward" in vars(part) for part in again.lm.module.modules())


def test_a_model_without_such_layers_is_an_error() -> None:
    with (
        pytest.raises(PrefixcapError, match=r"Embedding cannot compute its layers again"),
        checkpointed(TableLM().module),
    ):
        pass


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("tuning", ["full", "lora:dropout=0", "ia3", "adapter:width=2"])
def test_mixed_precision_keeps_weights_in_float32(precision: str, tuning: str) -> None:
    exact, mixed = (
        trained(tuning=tuning, epochs=2, precision=each) for each in ("float32", precision)
    )
    assert all(weight.dtype != torch.bfloat16 for weight in weights(mixed))
    assert mixed.history["loss"] != exact.history["loss"]
    assert mixed.history["loss"] == pytest.approx(exact.history["loss"], rel=0.05)


def test_mixed_precision_multiplies_in_that_type(monkeypatch: pytest.MonkeyPatch) -> None:
    dtypes: set[torch.dtype] = set()
    lm = gpt2()
    lm.module.lm_head.register_forward_hook(lambda m, i, output: dtypes.add(output.dtype))
    loss = LanguageModel.caption_loss
    monkeypatch.setattr(type(lm), "caption_loss", loss)  # calls the head
    trained(lm, "frozen", epochs=1, precision="bfloat16")
    assert torch.bfloat16 in dtypes


def test_a_recipe_is_its_settings() -> None:
    def training(**values: str) -> TrainingConfig:
        return options.study(values, default_registry()).training

    clipcap = TrainingConfig(
        learning_rate=2e-5,
        lm_lr_scale=1.0,
        eps=1e-6,
        weight_decay=0.0,
        warmup_steps=5000,
        schedule="linear",
        gradient_clip=None,
        center=False,
        feature_scale=1.0,
        prefix_scale=None,
        end=".",
        caption_format="plain",
        epochs=10,
        batch_size=40,
        patience=None,
        keep="last",
    )
    assert training(recipe="clipcap") == clipcap
    assert list(RECIPES) == ["clipcap"]
    changed = training(recipe="clipcap", training="eps=1e-8,epochs=2", epochs="3")
    assert (changed.eps, changed.epochs, changed.end) == (1e-8, 3, ".")
    with pytest.raises(PrefixcapError, match=r"no training recipe 'clipcapp'; did you mean"):
        training(recipe="clipcapp")
