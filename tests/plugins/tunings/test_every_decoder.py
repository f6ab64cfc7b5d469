"""Each tuning is trained and loaded once, and captions with each decoder."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from conformance_cases import make_case
from core.test_captioner import features, lm_folder, make

from prefixcap.captioning.captioner import Captioner
from prefixcap.captioning.tuned import tuned
from prefixcap.decoding.decode import collect
from prefixcap.engine.teacher_forcing import frozen_linear
from prefixcap.interfaces.language_model import LMConfig
from prefixcap.interfaces.mapper import MapperShape
from prefixcap.interfaces.text_encoder import TextEncoder
from prefixcap.interfaces.tuning import TuningConfig
from prefixcap.plugin.registry import default_registry
from prefixcap.testing.word_encoder import WordsEncoder

# conzic writes with a masked language model instead
DECODERS = [name for name in default_registry().names("decoder") if name != "conzic"]
Pair = tuple[Captioner, Captioner]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pair]:
    """A captioner that was just trained, and the same one loaded, for each tuning."""
    lm, runs = lm_folder(tmp_path_factory.mktemp("lm"), n_layer=2), tmp_path_factory.mktemp("runs")
    trained = {name: make(lm, name) for name in default_registry().names("tuning")}
    return {n: (c, Captioner.load(c.save(runs / n), device="cpu")) for n, c in trained.items()}


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_tuned_model_and_the_loaded_one_caption_alike(
    pairs: dict[str, Pair], decoder: str, tmp_path: Path
) -> None:
    config = make_case(default_registry(), "decoder", decoder, tmp_path).config
    images, texts = features()[:2].abs(), TextEncoder("words", lambda: WordsEncoder(4))
    options = {
        "text_encoder": texts,
        "neighbors": [["a dog"], ["a"]],
        "max_new_tokens": 4,
        "seed": 3,
    }
    for tuning, pair in pairs.items():
        one, two = (collect(each.iter_caption(images, config, **options), 2) for each in pair)
        assert one == two, tuning
        assert all(math.isfinite(best.logprob) for best, *_ in one), tuning


def test_only_what_is_trained_of_the_language_model_takes_memory_of_its_own(
    tmp_path: Path,
) -> None:
    lm = default_registry().parse(LMConfig, f"hf:model={lm_folder(tmp_path)}").build()
    before = {n: p.clone() for n, p in lm.module.named_parameters()}
    shape = MapperShape(
        feature_width=4, feature_tokens=None, prefix_length=2, embedding_width=lm.width
    )
    for name, own in (("lora", 0), ("layernorm", 6), ("full", len(before))):
        config = default_registry().parse(TuningConfig, name)
        given = {p.data_ptr() for p in lm.module.parameters()}
        copied = tuned(lm, config, shape).module
        kept = [n for n, p in copied.named_parameters() if p.data_ptr() in given]
        assert len(kept) == len(before) - own
        assert not any(p.requires_grad for n, p in copied.named_parameters() if n in kept)
        with torch.no_grad():
            for parameter in copied.parameters():
                if parameter.requires_grad:
                    parameter += 1
        assert all(torch.equal(p, before[n]) for n, p in lm.module.named_parameters())
        assert all(p.requires_grad for p in lm.module.parameters())


def test_captions_of_an_image_share_a_prefix_with_every_tuning(pairs: dict[str, Pair]) -> None:
    assert all(trained.lm._trees[1] for trained, _ in pairs.values())


@pytest.mark.parametrize("tuning", ["lora", "ia3", "adapter"])
def test_frozen_layers_within_added_ones_run_as_such(
    pairs: dict[str, Pair], tuning: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen_linear, "_VALUES", 1)  # those of real models are large enough
    model = pairs[tuning][1].lm.module
    with (found := frozen_linear.FrozenLinears(model)):
        running = {type(part).__name__ for part in model.modules() if "forward" in vars(part)}
    assert running == {"Conv1D", "Linear"}
    assert len(found._layers) == 2 * 4 + 1
