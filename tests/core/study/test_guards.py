"""Problems that would make the numbers wrong cause warnings."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import attrs
import numpy as np
import pytest
import torch
from cli_world import World

from prefixcap.captioning.captioner import Captioner
from prefixcap.captioning.prefixer import FeatureNorm
from prefixcap.interfaces.dataset import Example, ImageItem
from prefixcap.study.definition.study import Study
from prefixcap.study.execution import checks as guards
from prefixcap.study.execution.runner import run_study
from prefixcap.util.progress import ProgressTask, Silent


class Recorder(Silent):
    """Records messages."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)

    @contextlib.contextmanager
    def task(self, title: str, total: int, unit: str) -> Iterator[ProgressTask]:
        with super().task(title, total, unit) as task:
            yield task


def example(name: str, digest: str | None = None) -> Example:
    shown = None if digest is None else (lambda: digest)
    return Example(image=ImageItem(id=name, index=0, digest=shown), references=("a dog",))


def test_a_renamed_training_image_is_detected() -> None:
    train = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    test = torch.stack([train[3] * 1.00001, train[4] * 2, -train[5], train[6] + 0.01])
    names = [example(f"train-{n}", f"digest {n}") for n in range(40)]
    asked = [example("a"), example("b", "digest 7"), example("c", "else"), example("d")]
    assert guards.find_overlap(names, asked, train, test) == [("a", "train-3"), ("b", "train-7")]
    tokens = guards.find_overlap(names, asked, train[:, None], test[:, None])
    assert tokens == [("a", "train-3"), ("b", "train-7")]


def test_only_the_first_few_are_named() -> None:
    pairs = [(f"a{n}", f"b{n}") for n in range(7)]
    text = guards.overlap_warning(pairs, "test")
    assert text.startswith(
        "warning: 7 images of 'test' look the same as in 'train' under another name: 'a0' "
    )
    assert "'a4' (there 'b4') and 2 more; scores on them say nothing about new images" in text


def test_a_slow_dtype_gets_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # a processor cannot be chosen in a test, so what would be measured on it is
    monkeypatch.setattr(guards, "dtype_slowdown", {"bfloat16": 86.4, "float16": 1.1}.__getitem__)
    assert guards.slow_dtype("cpu", "bfloat16") == (
        "warning: --dtype bfloat16: this processor takes 86 times as long for matrix products in "
        "bfloat16 as in float32; --dtype float32 is faster here"
    )
    assert guards.slow_dtype("cpu", "float16") is None
    assert guards.slow_dtype("cpu", "float32") is None
    assert guards.slow_dtype("cuda:0", "bfloat16") is None


def test_a_study_warns_of_test_images_that_were_trained_on(
    world: World, small: Study, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(world.data, data)
    features = np.load(data / "features.npy")
    features[-1] = features[2]
    np.save(data / "features.npy", features)
    changed = attrs.evolve(small, dataset=attrs.evolve(small.dataset, path=str(data)))
    messages = Recorder()
    results = run_study(changed, tmp_path / "run", messages)
    expected = (
        "warning: 1 image of 'test' looks the same as in 'train' under another name: 'test-7.png'"
    )
    assert [text for text in messages.messages if text.startswith(expected)] == results.warnings
    assert len(results.to_json()["warnings"]) == 1


def test_features_that_differ_from_training_get_a_warning(
    world: World, small: Study, tmp_path: Path
) -> None:
    results = run_study(small, tmp_path)
    captioner = Captioner.load(tmp_path / results.rows[0]["model"], device="cpu")
    features = torch.from_numpy(np.load(world.data / "features.npy"))
    assert captioner.check_feature_shift(features[-8:]) is None
    assert captioner.check_feature_shift(features[-1:]) is None
    norm = features.norm(dim=-1).mean().item()
    expected_message = captioner.check_feature_shift(10 * features[-8:])
    assert expected_message is not None
    assert (
        f"their mean norm is {10 * features[-8:].norm(dim=-1).mean():.3g} (in training"
        in expected_message
    )
    assert f"(in training {features[:30].norm(dim=-1).mean():.3g})" in expected_message
    assert captioner.check_feature_shift(features[-8:] / 10) is not None
    # another encoder: the same norm, another mean
    other = features[-8:].flip(1) * torch.tensor([1, -1, 1, -1, 1, -1, 1.0])
    assert other.norm(dim=-1).mean().item() == pytest.approx(norm, rel=0.1)
    assert captioner.check_feature_shift(3 * other) is not None
    with pytest.warns(UserWarning, match="differ from those of the training"):
        captioner.caption(features=20 * features[-2:], decoder="greedy", max_new_tokens=2)


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("normalize", [True, False])
def test_single_photographs_of_the_same_encoder_are_not_warned_of(
    center: bool, normalize: bool, shared: Path
) -> None:
    folder = shared / "data" / "flickr8k_clip"
    features = torch.from_numpy(np.load(folder / "clip_vitb32.npy")).float()
    lines = (folder / "captions.jsonl").read_text(encoding="utf-8").splitlines()
    trained = torch.tensor([json.loads(line)["split"] == "train" for line in lines])
    norm = FeatureNorm.fit(features[trained], center=center, normalize=normalize, rms=1.0)
    size = json.loads(json.dumps(norm.measure(features[trained])))  # as it is saved
    new = features[~trained]
    assert [norm.shift(feature, size) for feature in new.split(1)] == [None] * 200
    assert [norm.shift(several, size) for several in new.split(7)] == [None] * 29
    # ViT-B/16 has the same width and length, and so have the channels in another order
    coco = shared / "data" / "coco_clip_text"
    other = torch.from_numpy(np.load(coco / "images_vitb16.npy")).float()
    shuffled = new[:, torch.randperm(512, generator=torch.Generator().manual_seed(0))]
    for wrong in (*other.split(1), *shuffled.split(1), *other.split(7)):
        assert "use features of the same encoder" in (norm.shift(wrong, size) or "")


def test_results_have_the_warnings_in_json(small: Study, tmp_path: Path) -> None:
    result = run_study(small, tmp_path).to_json()
    assert result["warnings"] == []
    assert json.dumps(result)
