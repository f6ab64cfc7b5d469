"""The record of epochs, and captions of val images during a training."""

from __future__ import annotations

import csv
import io
from typing import Any

import torch
from core.training.world import gpt2, weights, world

from prefixcap.captioning.captioner import Captioner
from prefixcap.training import epochs
from prefixcap.training.config import TrainingConfig
from prefixcap.training.train import train


def with_val(**settings: Any) -> Captioner:
    features, captions = world()
    return train(
        gpt2(dropout=0.2),
        "mlp",
        3,
        "full",
        features,
        captions,
        config=TrainingConfig(
            **{"epochs": 2, "batch_size": 8, "learning_rate": 1e-2, "warmup": 0.5, **settings}
        ),
        val_features=features[:8],
        val_captions=captions[:8],
        val_ids=[f"{row}.jpg" for row in range(8)],
    )


def test_the_record_of_epochs_has_losses_rates_and_captions_of_val_images() -> None:
    model = with_val(sample_images=2, epochs=2)
    history = model.history
    records = list(csv.DictReader(io.StringIO(epochs.to_csv(history))))
    numbers = ["epoch", "steps", "learning_rate", "train_loss", "val_loss"]
    assert list(records[0]) == [*numbers, "caption of 0.jpg", "caption of 1.jpg"]
    assert [(row["epoch"], row["steps"]) for row in records] == [("1", "6"), ("2", "12")]
    # half of the 12 steps warm up, then the rate falls as a cosine, to nearly zero
    assert float(records[0]["learning_rate"]) == 1e-2
    assert 0 < float(records[1]["learning_rate"]) < 1e-3
    for name in ("train_loss", "val_loss"):
        assert [float(row[name]) for row in records] == history[name]
    # the second epoch is the best one, so the model is still as it captioned the images
    decoded = model.caption(features=world()[0][:2], decoder="greedy")
    assert history["best_epoch"] == 2
    captions = [hypotheses[0].text for hypotheses in decoded]
    assert captions == [records[1]["caption of 0.jpg"], records[1]["caption of 1.jpg"]]
    first, *samples = epochs.lines(history)
    assert first.startswith("epoch 2: learning rate 0.000")
    assert f"val loss {history['val_loss'][1]:.4g}" in first
    assert samples == [f"  {number}.jpg: {text}" for number, text in enumerate(captions)]


def test_captioning_val_images_changes_nothing_about_the_training() -> None:
    one, other = with_val(sample_images=5), with_val(sample_images=0)
    assert one.history["loss"] == other.history["loss"]
    assert not other.history["samples"]
    assert all(torch.equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


def test_without_val_images_the_record_has_no_captions() -> None:
    features, captions = world()
    config = TrainingConfig(epochs=1)
    history = train(gpt2(), "linear", 1, "frozen", features, captions, config=config).history
    (row,) = epochs.rows(history)
    assert list(row) == ["epoch", "steps", "learning_rate", "train_loss"]
    assert epochs.to_csv(epochs.new_history()) == "\n"
