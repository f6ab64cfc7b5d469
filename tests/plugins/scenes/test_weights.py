from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest
import torch
from prefixcap_scenes import configs
from prefixcap_scenes.configs import Scenes, ScenesClip, ScenesGPT2
from scenes_pretrain import clip as pretrain_clip
from scenes_pretrain import gpt2 as pretrain_gpt2
from scenes_pretrain.texts import caption_sets

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.component import Component
from prefixcap.plugin import specs
from prefixcap.plugin.registry import default_registry
from prefixcap.testing import Case, Check, parametrize

CHECKPOINT = configs.WEIGHTS / "clip" / pretrain_clip.NAME
FOLDER = configs.WEIGHTS / "gpt2"


@parametrize([Case(config=ScenesClip()), Case(config=ScenesGPT2())])
def test_conformance(check: Check) -> None:
    check()


def test_the_weights_are_small() -> None:
    sizes = [path.stat().st_size for path in configs.WEIGHTS.rglob("*") if path.is_file()]
    assert sum(sizes) <= 16e6
    assert max(sizes) <= 6e6


def test_clip_loads_the_checkpoint_with_all_caption_words() -> None:
    import clip

    model, _ = clip.load(str(CHECKPOINT), device="cpu")
    known = model.token_embedding.weight.abs().sum(-1) > 0
    assert len(known) == 49408
    texts = [text for texts in caption_sets("test", 300) for text in texts]
    assert bool(known[clip.tokenize(texts).flatten()].all())
    assert known.sum() < 500, "unused words are zeros, which cost nothing"


def test_clip_finds_the_caption_of_a_test_scene_among_a_hundred() -> None:
    result = pretrain_clip.retrieval(CHECKPOINT, count=200)
    assert result["image_to_text"] > 0.7
    assert result["text_to_image"] > 0.7


def test_a_linear_probe_reads_places_and_times() -> None:
    """Ridge regression from features of train images predicts the place of test images."""
    from prefixcap_scenes.world import SPLITS, split_scenes

    sizes = {"train": 400, "val": 1, "test": 100}
    encoder = ScenesClip().build()
    data = Scenes(**sizes).build()
    drawn = split_scenes({split: sizes[split] for split in SPLITS}, 0)
    features, labels = {}, {}
    for split in ("train", "test"):
        pixels = [encoder.preprocess(example.image) for example in data.examples(split)]
        features[split] = encoder.encode(torch.stack(pixels))
        labels[split] = [f"{scene.place} {scene.sky}" for scene in drawn[split]]
    names = sorted(set(labels["train"]))
    target = torch.eye(len(names))[[names.index(label) for label in labels["train"]]]
    train = features["train"] - features["train"].mean(0)
    gram = train.t() @ train + 1e-3 * train.pow(2).sum() / train.shape[1] * torch.eye(
        train.shape[1]
    )
    solved = torch.linalg.solve(gram, train.t() @ (target - target.mean(0)))
    test = features["test"] - features["train"].mean(0)
    predicted = [names[row] for row in (test @ solved + target.mean(0)).argmax(-1)]
    assert sum(a == b for a, b in zip(predicted, labels["test"], strict=True)) > 85


def test_gpt2_has_a_low_perplexity_on_captions() -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    model = AutoModelForCausalLM.from_pretrained(FOLDER).float()
    assert tokenizer.eos_token == pretrain_gpt2.END
    assert model.config.n_positions >= 128
    assert pretrain_gpt2.perplexity(model, tokenizer, caption_sets("test", 60)) < 5


def test_the_tokenizer_round_trips_every_test_caption() -> None:
    tokenizer = ScenesGPT2().build().tokenizer
    assert tokenizer is not None
    for texts in caption_sets("test", 50):
        for text in texts:
            ids = tokenizer.encode(text)
            assert tokenizer.decode(ids) == text
            assert len(ids) <= 40


def test_missing_weights_are_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(configs, "WEIGHTS", tmp_path)
    with pytest.raises(PrefixcapError, match=r"scenes-clip\.pt that come with .* are missing; ins"):
        ScenesClip().build()
    with pytest.raises(PrefixcapError, match="gpt2 that come with prefixcap are missing; install"):
        ScenesGPT2().build()


@pytest.mark.parametrize("config", [ScenesClip(), ScenesGPT2()])
def test_the_fingerprint_depends_on_the_loader_but_not_on_the_folder(
    config: Component, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def digest() -> str:
        return specs.digest(*specs.fingerprint_inputs(config))

    before = digest()
    shutil.copytree(configs.WEIGHTS, tmp_path / "elsewhere")
    monkeypatch.setattr(configs, "WEIGHTS", tmp_path / "elsewhere")
    assert digest() == before
    loader = default_registry().config_class(
        config.kind, "clip" if config.kind == "encoder" else "hf"
    )
    monkeypatch.setattr(loader, "version", "another")
    assert digest() != before


def test_features_do_not_depend_on_the_index() -> None:
    assert ScenesClip().depends_on_index is False


def test_the_pretraining_runs_and_its_files_load(tmp_path: Path) -> None:
    pretrain_gpt2.pretrain(tmp_path / "gpt2", steps=2, batch=4, scenes=40)
    pretrain_clip.pretrain(tmp_path / "clip", steps=2, batch=8, count=16, held_out=100)
    made = torch.load(tmp_path / "clip" / pretrain_clip.NAME)
    shipped = torch.load(CHECKPOINT)
    assert {name: value.shape for name, value in made.items()} == {
        name: value.shape for name, value in shipped.items()
    }
    assert (tmp_path / "gpt2" / "model.safetensors").is_file()
    assert math.isfinite(made["visual.proj"].sum().item())
