"""The record of epochs, and captions of val images during a training."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
import torch
from core.training.world import gpt2, weights, world

from prefixcap.captioning.captioner import Captioner
from prefixcap.errors import PrefixcapError
from prefixcap.training import epochs
from prefixcap.training.checkpoint import TrainingCheckpoint
from prefixcap.training.config import TrainingConfig
from prefixcap.training.train import train


def with_val(**settings: Any) -> Captioner:
    features, captions = world()
    extra = {k: settings.pop(k) for k in ("progress", "on_last", "checkpoint") if k in settings}
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
        **extra,
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


CIDER = "cider:tokenizer=characters"  # needs no Java
BY_CIDER = {"keep_by": CIDER, "epochs": 9, "learning_rate": 3e-2, "patience": 2, "val_images": 6}


def test_the_best_epoch_is_chosen_by_a_score_of_val_captions(tmp_path: Path) -> None:
    last: list[Captioner] = []
    kept: list[list[torch.Tensor]] = []

    def keep(model: Captioner) -> None:
        last.append(model)
        kept.append([weight.detach().clone() for weight in weights(model)])

    model = with_val(**BY_CIDER, on_last=keep)
    history = model.history
    (name,) = history["val_scores"][0]
    scores = [each[name] for each in history["val_scores"]]
    best, epochs_done = history["best_epoch"], len(scores)
    assert name.startswith("CIDEr")
    assert scores[best - 1] == max(scores) > 0
    assert best < epochs_done
    assert epochs_done == best + 2 or epochs_done == 9
    # another epoch than that of the lowest loss
    assert history["val_loss"].index(min(history["val_loss"])) != best - 1
    decoded = model.caption(features=world()[0][:3], decoder="greedy")
    shown = list(history["samples"][best - 1].values())
    assert [hypotheses[0].text for hypotheses in decoded] == shown
    assert last[0].history["best_epoch"] == epochs_done
    assert not torch.equal(kept[0][-1], weights(model)[-1])
    assert list(epochs.rows(history))[best - 1][name] == max(scores)

    class Killed(BaseException):
        pass

    def kill(done: int, *_: object) -> None:
        if done == 6 * best + 3:
            raise Killed

    file = tmp_path / "at"
    with pytest.raises(Killed):
        with_val(**BY_CIDER, checkpoint=TrainingCheckpoint(file, every=0, share=1e9), progress=kill)
    resumed = with_val(**BY_CIDER, checkpoint=TrainingCheckpoint(file), on_last=keep)
    measured = {"seconds": 0, "memory": 0}
    assert resumed.history | measured == history | measured
    assert all(torch.equal(a, b) for a, b in zip(weights(resumed), weights(model), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(*kept, strict=True))


@pytest.mark.parametrize(
    ("keep_by", "reason"),
    [
        ("CIDER", "keep_by: there is no score or metric 'CIDER'; did you mean 'CIDEr'"),
        ("clipscore", "keep_by: the metric 'clipscore' looks at images"),
        ("diversity", "keep_by: the metric 'diversity' compares several captions"),
        ("length:tokenizer=characters", "the metric 'length' has no score 'length:tokenizer=chara"),
    ],
)
def test_what_cannot_choose_an_epoch_is_an_error_before_the_first_step(
    keep_by: str, reason: str
) -> None:
    with pytest.raises(PrefixcapError, match=reason):
        with_val(keep_by=keep_by, progress=lambda *_: pytest.fail("a step was taken"))


def test_a_score_needs_val_images() -> None:
    features, captions = world()
    config = TrainingConfig(keep_by=CIDER)
    with pytest.raises(PrefixcapError, match=f"keep_by={CIDER} needs val images"):
        train(gpt2(), "linear", 1, "frozen", features, captions, config=config)
