"""Training against ClipCap's own code: its recorded losses from its recorded weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from prefixcap_clipcap.convert import import_checkpoint
from torch import Tensor

from prefixcap.training.batches import CaptionBatch, TokenizedCaption
from prefixcap.training.config import TrainingConfig
from prefixcap.training.trainer import Trainer


def batch(captions: list[tuple[str, list[int]]]) -> CaptionBatch:
    """Stack captions as ClipCap does, with a prefix for each; its loss excludes token 0."""
    assert all(0 not in tokens for _, tokens in captions)
    return CaptionBatch.of(
        [TokenizedCaption(row, tuple(tokens)) for row, (_, tokens) in enumerate(captions)]
    )


@pytest.fixture(scope="module")
def features(shared: Path) -> dict[str, Tensor]:
    folder = shared / "data" / "flickr8k_clip"
    rows = np.load(folder / "clip_vitb32.npy").astype("float32")
    lines = (folder / "captions.jsonl").read_text().splitlines()
    return {
        json.loads(line)["image"]: torch.from_numpy(row)
        for line, row in zip(lines, rows, strict=True)
    }


@pytest.mark.parametrize("name", ["mlp_k10", "transformer_k10"])
def test_the_losses_are_the_recorded_ones(
    name: str, shared: Path, features: dict[str, Tensor]
) -> None:
    folder = shared / "data" / "clipcap"
    settings: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    recorded: dict[str, Any] = json.loads((folder / f"{name}.train.json").read_text())
    captioner = import_checkpoint(
        folder / f"{name}.init.pt",
        settings["mapping_type"],
        settings["prefix_length"],
        normalize_prefix=settings["normalize_prefix"],
        feature_scale=settings["feature_scale"],
        lm=str(folder),
    )
    config = TrainingConfig(
        learning_rate=recorded["lr"],
        lm_lr_scale=1.0,
        eps=recorded["eps"],
        weight_decay=recorded["weight_decay"],
        warmup_steps=recorded["warmup_steps"],
        schedule="linear",
        gradient_clip=None,
    )
    trainer = Trainer(captioner.lm, captioner.prefixer, config, recorded["total_steps"])
    losses = []
    for captions in recorded["batches"]:
        losses.append(
            trainer.step(torch.stack([features[image] for image, _ in captions]), batch(captions))
        )
    assert losses == pytest.approx(recorded["loss"], abs=1e-4)
