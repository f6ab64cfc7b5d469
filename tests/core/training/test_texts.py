"""Training on texts alone: what the mapper sees, what is saved, and interruptions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from core.training.test_resuming import Killed, WritesAt, same
from core.training.world import COLOURS, gpt2, weights, world
from safetensors.torch import load_file
from torch import Tensor

from prefixcap.captioning.captioner import Captioner
from prefixcap.errors import PrefixcapError, PrefixcapWarning
from prefixcap.interfaces.bridge import BridgeConfig
from prefixcap.plugin.registry import default_registry
from prefixcap.training.config import TrainingConfig
from prefixcap.training.texts import TextTraining
from prefixcap.training.train import train

BRIDGES = ("none", "noise:noise=0.1", "shift:noise=0.1", "close:shift=1", "memory:size=20")


def texts_of(captions: list[list[str]]) -> Tensor:
    """Embeddings (T,6) of captions: the image's colour, apart from images by a constant."""
    rows = [[2.0 * ("blue" in text) - 1, 0, 3.0] for texts in captions for text in texts]
    noise = 0.1 * torch.randn(len(rows), 3, generator=torch.Generator().manual_seed(4))
    return torch.cat([torch.tensor(rows), noise], 1)


def on_texts(bridge: str, lm: Any = None, tuning: str = "full", **options: Any) -> Captioner:
    images, captions = world()
    settings: dict[str, Any] = {"epochs": 3, "batch_size": 8, "learning_rate": 1e-2}
    settings |= {name: options.pop(name) for name in list(options) if name in SETTINGS}
    texts = texts_of(captions)
    return train(
        lm or gpt2(),
        "mlp",
        3,
        tuning,
        images,
        captions,
        config=TrainingConfig(**settings, lm_lr_scale=1.0),
        texts=TextTraining(bridge=bridge, features=texts, val_features=texts.flip(0)),
        **options,
    )


SETTINGS = ("epochs", "max_train_captions", "start", "patience", "feature_noise")


@pytest.mark.parametrize("bridge", BRIDGES)
def test_a_model_trained_on_texts_is_saved_with_its_bridge(bridge: str, tmp_path: Path) -> None:
    model, images = on_texts(bridge, lm="scenes-gpt2", tuning="frozen", epochs=1), world()[0]
    folder = model.save(tmp_path)
    loaded = Captioner.load(folder, "cpu")
    assert loaded.bridge_config == default_registry().parse(BridgeConfig, bridge)
    assert model.prefixer.bridge is not None
    assert loaded.prefixer.bridge is not None
    assert loaded.prefixer.bridge.digest() == model.prefixer.bridge.digest()
    assert torch.equal(loaded.prefixes(images), model.prefixes(images))
    assert model.check_feature_shift(images) is None
    stored = {name for name in load_file(folder / "weights.safetensors") if "bridge" in name}
    assert stored == {f"prefixer.bridge.learned_{name}" for name in model.prefixer.bridge.learned}


def test_captions_name_what_texts_taught() -> None:
    model, images = on_texts("shift:noise=0.1", epochs=8), world()[0]
    told = model.caption(features=images[:8], decoder="greedy", max_new_tokens=5)
    assert [COLOURS[row % 2] in hypotheses[0].text for row, hypotheses in enumerate(told)] == [
        True
    ] * 8


def test_a_bridge_is_the_same_for_every_decoder_and_leaves_scoring_its_features() -> None:
    model, (images, _) = on_texts("memory"), world()
    prefix = model.prefixes(images[:2])
    one, two = (
        dict(model.iter_caption(images[:2], decoder, prefix=prefix, max_new_tokens=4))
        for decoder in ("greedy", "beam:num_beams=1")
    )
    assert {row: each[0].text for row, each in one.items()} == {
        row: each[0].text for row, each in two.items()
    }


@pytest.mark.parametrize("bridge", ["noise", "memory:size=20,noise=0.1"])
def test_a_killed_training_on_texts_ends_with_the_same_bits(bridge: str, tmp_path: Path) -> None:
    def dies(done: int, _total: int, _info: object) -> None:
        if done == 8:
            raise Killed

    wanted = on_texts(bridge)
    with pytest.raises(Killed):
        on_texts(bridge, progress=dies, checkpoint=WritesAt(tmp_path / "state", {3, 7}))
    resumed = on_texts(bridge, checkpoint=WritesAt(tmp_path / "state", set()))
    assert same(wanted, resumed)


def test_another_bridge_does_not_resume_the_training_of_one(tmp_path: Path) -> None:
    wanted = on_texts("noise")
    on_texts("none", checkpoint=WritesAt(tmp_path / "state", {3}))
    with pytest.warns(PrefixcapWarning, match="is the state of another training"):
        model = on_texts("noise", checkpoint=WritesAt(tmp_path / "state", set()))
    assert same(wanted, model)


def test_the_noise_comes_from_the_trainings_random_stream() -> None:
    one, two, other = (on_texts("noise", seed=seed, epochs=1) for seed in (0, 0, 1))
    assert same(one, two)
    assert not same(one, other)
    still = on_texts("noise:noise=0", epochs=1)
    assert same(still, on_texts("none", epochs=1))
    assert not same(still, one)


def test_the_val_loss_is_that_of_texts_and_samples_are_of_images() -> None:
    images, captions = world()
    one, other = (
        on_texts("shift", val_features=features, val_captions=captions, epochs=5)
        for features in (images, images.flip(0))
    )
    assert one.history["val_loss"] == other.history["val_loss"]
    assert one.history["samples"] != other.history["samples"]


def test_the_first_captions_of_all_images_come_first() -> None:
    images, captions = world()
    texts = texts_of(captions)
    model = on_texts("none", max_train_captions=24, epochs=1)
    alone = train(
        gpt2(),
        "mlp",
        3,
        "full",
        images,
        [each[:1] for each in captions],
        config=TrainingConfig(epochs=1, batch_size=8, learning_rate=1e-2, lm_lr_scale=1.0),
        texts=TextTraining(bridge="none", features=texts[::2]),
    )
    # the normalization is fitted to all rows; the batches are the same
    assert len(model.history["loss"]) == len(alone.history["loss"]) == 3


def test_the_ridge_start_is_fitted_to_texts() -> None:
    model = on_texts("shift", start="ridge", epochs=0)
    other = on_texts("none", start="ridge", epochs=0)
    assert not all(torch.equal(a, b) for a, b in zip(weights(model), weights(other), strict=False))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"features": torch.ones(24, 3, 6)}, "training on texts needs one vector per image"),
        ({"texts": torch.ones(47, 6)}, "train: 47 embeddings were given for 48 captions"),
        ({"texts": torch.ones(48, 5)}, "train: the captions' embeddings are (48, 5) and the im"),
        ({"texts": torch.full((48, 6), torch.nan)}, "embedding in row 0 is not finite"),
        ({"val": True}, "val: the captions' embeddings are missing: give val_features"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], sentence: str) -> None:
    images, captions = world()
    val = {"val_features": images, "val_captions": captions} if change.pop("val", None) else {}
    with pytest.raises(PrefixcapError) as caught:
        train(
            gpt2(),
            "mlp",
            3,
            "full",
            change.get("features", images),
            captions,
            texts=TextTraining(bridge="none", features=change.get("texts", texts_of(captions))),
            **val,
        )
    assert sentence in str(caught.value)
