"""End to end on real CLIP features: a small GPT-2 against the nearest caption."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from prefixcap.captioning.captioner import Captioner
from prefixcap.captioning.encode_images import encode
from prefixcap.interfaces.dataset import DatasetConfig, Example
from prefixcap.interfaces.encoder import EncoderConfig
from prefixcap.interfaces.language_model import LMConfig
from prefixcap.interfaces.mapper import MapperConfig
from prefixcap.interfaces.metric import MetricConfig, Record
from prefixcap.interfaces.tuning import TuningConfig
from prefixcap.plugin.registry import default_registry
from prefixcap.training.config import TrainingConfig
from prefixcap.training.train import train

NEAREST = 0.27
"""CIDEr of the first caption of the nearest training image, on the test split."""


def cider(examples: Sequence[Example], captions: Sequence[str]) -> float:
    records = [
        Record(image=e.image.id, references=e.references, prediction=caption)
        for e, caption in zip(examples, captions, strict=True)
    ]
    scores = default_registry().parse(MetricConfig, "cider").build().score(records)
    return scores.values["CIDEr"]


@pytest.mark.timeout(600)
def test_a_small_model_from_scratch_beats_the_nearest_caption(shared: Path, tmp_path: Path) -> None:
    registry = default_registry()
    folder = shared / "data" / "flickr8k_clip"
    data = registry.parse(DatasetConfig, f"jsonl:path={folder}").build()
    encoder_config = registry.parse(EncoderConfig, "precomputed")
    encoder = encoder_config.build()
    examples = {split: data.examples(split) for split in ("train", "val", "test")}
    features = {s: encode(encoder, [e.image for e in each]) for s, each in examples.items()}
    captions = {s: [e.references for e in each] for s, each in examples.items()}
    lm_config = registry.parse(LMConfig, f"hf:model={shared}/data/clipcap,init=random")

    trained = train(
        lm_config.build(),
        registry.parse(MapperConfig, "mlp"),
        10,
        registry.parse(TuningConfig, "full"),
        features["train"],
        captions["train"],
        config=TrainingConfig(
            epochs=6, learning_rate=3e-3, lm_lr_scale=1.0, warmup_steps=20, end="."
        ),
        val_features=features["val"],
        val_captions=captions["val"],
    )
    trained.lm_config, trained.encoder_config = lm_config, encoder_config
    trained.encoder_digest = encoder.digest()
    captioner = Captioner.load(trained.save(tmp_path / "run"))
    images = [example.image for example in examples["test"]]
    result = captioner.caption(images, decoder="beam:num_beams=5")

    assert result == captioner.caption(features=features["test"], image_ids=[i.id for i in images])
    texts = [hypotheses[0].text for hypotheses in result]
    unit = {s: torch.nn.functional.normalize(f, dim=-1) for s, f in features.items()}
    rows = np.asarray((unit["test"] @ unit["train"].T).argmax(1))
    nearest = cider(examples["test"], [captions["train"][row][0] for row in rows])
    score = cider(examples["test"], texts)
    shuffled = cider(examples["test"], [*texts[1:], texts[0]])
    assert nearest == pytest.approx(NEAREST, abs=0.01)
    assert score > nearest + 0.03
    assert shuffled < 0.2
