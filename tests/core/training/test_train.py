"""`train` as a whole: what it learns, leaves unchanged and refuses."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from core.training.breaking import BreaksAt
from core.training.world import COLOURS, WORDS, gpt2, trained, weights, world
from torch import Tensor, nn

from prefixcap.captioning.captioner import Captioner
from prefixcap.captioning.prefixer import FeatureNorm, Prefixer
from prefixcap.errors import DivergedError, PrefixcapError
from prefixcap.interfaces.mapper import MapperShape
from prefixcap.training.batches import CaptionBatch
from prefixcap.training.checkpoint import TrainingCheckpoint
from prefixcap.training.config import TrainingConfig
from prefixcap.training.loop import TrainingLoop
from prefixcap.training.train import train
from prefixcap.training.trainer import Trainer


def test_a_trained_model_describes_the_image() -> None:
    model = trained(epochs=60)
    features, _ = world()
    captions = model.caption(features=features[:6], decoder="greedy")
    for number, result in enumerate(captions):
        assert COLOURS[number % 2] in result[0].text
        assert COLOURS[1 - number % 2] not in result[0].text
        assert result[0].finish_reason == "stop"
    assert model.history["train_loss"][-1] < 0.3 * model.history["train_loss"][0]


def test_a_frozen_model_is_not_copied_and_not_changed() -> None:
    lm = gpt2()
    before = [p.detach().clone() for p in lm.module.parameters()]
    model = trained(lm, "frozen")
    assert model.lm is lm
    assert all(torch.equal(a, b) for a, b in zip(before, lm.module.parameters(), strict=True))
    assert not any(p.requires_grad or p.grad is not None for p in lm.module.parameters())
    assert model.trained_parameters == sum(p.numel() for p in model.prefixer.parameters())
    assert model.history["train_loss"][-1] < model.history["train_loss"][0]


def test_a_tuned_model_is_a_copy() -> None:
    lm = gpt2()
    before = [p.detach().clone() for p in lm.module.parameters()]
    model = trained(lm)
    assert all(torch.equal(a, b) for a, b in zip(before, lm.module.parameters(), strict=True))
    assert not torch.equal(before[0], next(iter(model.lm.module.parameters())))
    every = [*model.prefixer.parameters(), *lm.module.parameters()]
    assert model.trained_parameters == sum(p.numel() for p in every)


@pytest.mark.parametrize("together", [False, True])
def test_operations_are_nearly_those_of_counting_every_step(
    monkeypatch: pytest.MonkeyPatch, together: bool
) -> None:
    stream = random.Random(0)
    features, _ = world(40)
    captions = [
        [" ".join(stream.choices(WORDS[:5], k=stream.randint(2, 15))) for _ in range(3)]
        for _ in range(40)
    ]
    config = TrainingConfig(epochs=2, batch_size=8, group_captions=together)

    def operations() -> int:
        model = train(gpt2(), "linear", 4, "frozen", features, captions, config=config)
        return int(model.history["flops"])

    nearly, step = operations(), TrainingLoop._step

    def counted(loop: TrainingLoop, batch: CaptionBatch) -> float:
        loop._flops.clear()
        return step(loop, batch)

    monkeypatch.setattr(TrainingLoop, "_step", counted)
    assert nearly == pytest.approx(operations(), rel=0.05)


def test_training_depends_on_the_seed_and_not_on_global_states() -> None:
    def states() -> str:
        return repr(
            (torch.random.get_rng_state().tolist(), random.getstate(), np.random.get_state())
        )

    torch.manual_seed(1)
    one = trained(gpt2(dropout=0.1))
    for seed in (torch.manual_seed, random.seed, np.random.seed):
        seed(5)
    before = states()
    two = trained(gpt2(dropout=0.1))
    assert states() == before
    assert one.history["loss"] == two.history["loss"]
    assert all(torch.equal(a, b) for a, b in zip(weights(one), weights(two), strict=True))
    three = trained(gpt2(dropout=0.1), seed=1)
    assert three.history["loss"] != one.history["loss"]


def test_a_bfloat16_model_trains_a_float32_mapper() -> None:
    lm = gpt2()
    lm.module.to(torch.bfloat16)
    model = trained(lm, "frozen")
    assert {p.dtype for p in model.prefixer.parameters()} == {torch.float32}
    assert model.history["train_loss"][-1] < model.history["train_loss"][0]


@pytest.mark.parametrize("keep", ["best", "last"])
def test_training_stops_early_and_keeps_an_epochs_weights(keep: str) -> None:
    features, captions = world()
    wrong = [captions[1], captions[0]] * 12  # gets worse as the training split is learned
    kept: list[list[Tensor]] = []
    model = train(
        gpt2(),
        "mlp",
        3,
        "full",
        features,
        captions,
        config=TrainingConfig(
            epochs=40, batch_size=8, learning_rate=1e-2, lm_lr_scale=1.0, patience=2, keep=keep
        ),
        val_features=features,
        val_captions=wrong,
        on_epoch=lambda _, m: kept.append([p.detach().clone() for p in m.prefixer.parameters()]),
    )
    losses = model.history["val_loss"]
    best = losses.index(min(losses))
    assert len(losses) == best + 3 < 40
    index = best if keep == "best" else len(losses) - 1
    assert model.history["best_epoch"] == index + 1
    result = list(model.prefixer.parameters())
    assert all(torch.equal(a, b) for a, b in zip(kept[index], result, strict=True))
    assert not torch.equal(kept[best][0], kept[-1][0])


def test_noise_is_added_in_training_only() -> None:
    one, two, quiet = (
        trained(gpt2(), "frozen", feature_noise=noise, epochs=1) for noise in (0.5, 0.5, 0.0)
    )
    assert one.history["loss"] == two.history["loss"] != quiet.history["loss"]
    features = torch.zeros(1, 4000)
    shape = MapperShape(
        feature_width=4000, feature_tokens=None, prefix_length=1, embedding_width=4000
    )
    prefixer = Prefixer(FeatureNorm(features[0]), nn.Unflatten(1, (1, -1)), shape)
    prefixer.noise = one.prefixer.noise
    assert prefixer.train()(features).std().item() == pytest.approx(0.5, rel=0.1)
    assert prefixer.eval()(features).std() == 0


def test_progress_counts_every_step() -> None:
    seen: list[tuple[int, int, int]] = []
    trained(progress=lambda done, total, info: seen.append((done, total, info["epoch"])))
    assert [done for done, _, _ in seen] == list(range(1, 19))
    assert {total for _, total, _ in seen} == {18}
    assert [epoch for _, _, epoch in seen] == [1] * 6 + [2] * 6 + [3] * 6


# ------------------------------------------------------------------------------------------- errors

TOO_LONG = [["a dog runs"]] * 23 + [["a dog runs on grass " * 13]]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"features": torch.zeros(3, 6)}, "train: 3 features were given for the captions of 24"),
        ({"features": torch.zeros(24)}, r"must be of shape \(B,D\) or \(B,N,D\), not \(24,\)"),
        ({"features": torch.full((24, 6), math.nan)}, "train: the feature in row 0 is not finite"),
        ({"val_features": torch.zeros(2, 6)}, "validation needs both features and captions"),
        ({"captions": [[""]] * 24}, "there is no caption to train on"),
        ({"captions": [["~"]] * 24}, "there is no caption to train on"),
        ({"captions": [[]] * 24}, "there is no caption to train on"),
        ({"captions": ["a dog runs"] * 24}, r"train: each image needs .* \['a dog runs'\], not"),
        ({"prefix_length": 0}, "prefix_length must be at least 1, not 0"),
        ({"prefix_length": -3}, "prefix_length must be at least 1, not -3"),
        ({"prefix_length": 63}, "train: a prefix of 63 and a caption of 6 tokens do not fit"),
        (
            {"features": torch.zeros(0, 6), "captions": []},
            r"train: there is no image: their shape is \(0, 6\)",
        ),
        ({"features": torch.zeros(24, 0)}, "train: the features have no values: their shape is"),
        (
            {"val_features": torch.zeros(0, 6), "val_captions": []},
            "val: there is no image: their shape is",
        ),
        (
            {"val_features": torch.zeros(2, 6), "val_captions": [["", "~"], []]},
            "there is no caption to validate on",
        ),
        (
            {"val_features": torch.zeros(1, 5), "val_captions": [["a dog runs"]]},
            r"val: features of shape \(1, 5\) do not fit those of the training, \(24, 6\)",
        ),
        ({"captions": TOO_LONG}, "train: a prefix of 2 and a caption of 65 tokens do not fit"),
        (
            {"val_features": torch.zeros(24, 6), "val_captions": TOO_LONG},
            "a prefix of 2 and a caption of 65 tokens do not fit",
        ),
    ],
)
def test_invalid_arguments_are_errors_before_the_first_step(
    change: dict[str, Any], reason: str
) -> None:
    def progress(*_: object) -> None:
        pytest.fail("a step was taken")

    features, captions = world()
    arguments: dict[str, Any] = {"features": features, "captions": captions, **change}
    length = arguments.pop("prefix_length", 2)
    with pytest.raises(PrefixcapError, match=reason):
        train(gpt2(), "linear", length, "frozen", progress=progress, **arguments)


def test_captions_without_tokens_are_left_out() -> None:
    features, captions = world()
    mixed = [["~", *texts, ""] for texts in captions]
    mixed[3] = []
    captions[3] = []
    runs = [
        train(gpt2(), "linear", 2, "frozen", features, texts, config=TrainingConfig(epochs=1))
        for texts in (captions, mixed)
    ]
    assert sorted(runs[0].history["loss"]) == pytest.approx(sorted(runs[1].history["loss"]), 0.05)
    assert len(runs[0].history["loss"]) == len(runs[1].history["loss"])


@pytest.mark.parametrize("images", [1, 2])
def test_a_batch_may_be_larger_than_the_data(images: int) -> None:
    features, captions = world(images)
    config = TrainingConfig(epochs=2, batch_size=1000)
    run = train(gpt2(), "mlp", 1, "full", features, captions, config=config)
    assert len(run.history["loss"]) == 2
    assert all(map(math.isfinite, run.history["loss"]))
    assert run.caption(features=features, decoder="greedy", max_new_tokens=3)


def test_memory_that_is_missing_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def step(*_: object) -> float:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried")

    monkeypatch.setattr(Trainer, "step", step)
    with pytest.raises(PrefixcapError, match="train with batch_size=8: lower the training's batch"):
        trained()


def test_a_half_precision_model_is_not_tuned() -> None:
    lm = gpt2()
    lm.module.to(torch.bfloat16)
    with pytest.raises(PrefixcapError, match="lost in bfloat16: use dtype float32"):
        trained(lm, "full")


DIVERGING = [
    (
        {"call": 1},
        "the loss became nan in step 1 (epoch 1): lower the training's learning_rate (0",
        0,
    ),
    (
        {"call": 15},
        "the loss became nan in step 15 (epoch 3): lower the training's learning_rate",
        2,
    ),
    (
        {"call": 9, "what": "gradients"},
        "the norm of the gradients became nan in step 9 (epoch 2)",
        1,
    ),
    ({"call": 12, "what": "weights"}, "a weight is not finite after epoch 2", 1),
]


@pytest.mark.parametrize(("how", "reason", "epoch"), DIVERGING)
def test_a_training_that_diverges_keeps_the_last_good_epoch(
    how: dict[str, Any], reason: str, epoch: int, tmp_path: Path
) -> None:
    features, captions = world()

    def run(how: dict[str, Any], epochs: int) -> Captioner:
        return train(
            gpt2(),
            BreaksAt(**how),
            2,
            "frozen",
            features,
            captions,
            config=TrainingConfig(epochs=epochs, batch_size=8, schedule="constant", warmup=0),
            progress=lambda done, *_: steps.append(done),
            checkpoint=TrainingCheckpoint(tmp_path / "at"),
        )

    steps: list[int] = []
    for _ in range(2):
        taken = len(steps)
        with pytest.raises(DivergedError) as raised:
            run(how, 4)
        assert str(raised.value).startswith(reason)
        assert raised.value.epoch == epoch
    assert taken == len(steps)  # the second knew from the checkpoint how it ends
    (tmp_path / "at").unlink()
    model = raised.value.model
    if not epoch:
        assert model is None
        return
    expected = run({"call": 1000}, epoch)
    assert model.history["loss"] == expected.history["loss"]
    assert model.history["train_loss"] == expected.history["train_loss"]
    assert all(torch.equal(a, b) for a, b in zip(weights(model), weights(expected), strict=True))


def test_the_cure_of_a_training_that_diverges_depends_on_its_settings() -> None:
    features, captions = world()
    cures = {"precision": "bfloat16 or float32, as float16", "gradient_clip": "set gradient_clip=1"}
    for setting, cure in cures.items():
        value = "float16" if setting == "precision" else None
        config = TrainingConfig(epochs=1, **{setting: value})
        with pytest.raises(DivergedError, match=cure):
            train(gpt2(), BreaksAt(), 2, "frozen", features, captions, config=config)


def test_a_validation_loss_that_is_not_finite_is_an_error() -> None:
    lm = gpt2()
    with torch.no_grad():
        lm.module.get_parameter("transformer.wpe.weight")[8:] = torch.nan
    features, captions = world()
    with pytest.raises(PrefixcapError, match=r"the val loss became nan \(epoch 1\): lower"):
        train(
            lm,
            "linear",
            3,
            "frozen",
            features,
            [["a dog"] for _ in captions],
            config=TrainingConfig(epochs=1),
            val_features=features,
            val_captions=[["a dog runs on grass two dog"] for _ in captions],
        )
