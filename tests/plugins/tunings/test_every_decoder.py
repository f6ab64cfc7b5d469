"""Each tuning is trained and loaded once, and captions with each decoder."""

from __future__ import annotations

import math

import pytest
from core.test_captioner import features, lm_folder, make

from prefixcap.captioning.captioner import Captioner
from prefixcap.decoding.decode import collect
from prefixcap.engine.teacher_forcing import frozen_linear
from prefixcap.interfaces.text_encoder import TextEncoder
from prefixcap.plugin.registry import default_registry
from prefixcap.testing.word_encoder import WordsEncoder

SPECS = {"constrained": "constrained:force_words=dog"}
"""Decoders that need settings."""
Pair = tuple[Captioner, Captioner]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pair]:
    """A captioner that was just trained, and the same one loaded, for each tuning."""
    lm, runs = lm_folder(tmp_path_factory.mktemp("lm"), n_layer=2), tmp_path_factory.mktemp("runs")
    trained = {name: make(lm, name) for name in default_registry().names("tuning")}
    return {n: (c, Captioner.load(c.save(runs / n), device="cpu")) for n, c in trained.items()}


@pytest.mark.parametrize("decoder", default_registry().names("decoder"))
def test_a_tuned_model_and_the_loaded_one_caption_alike(
    pairs: dict[str, Pair], decoder: str
) -> None:
    images, texts = features()[:2].abs(), TextEncoder("words", lambda: WordsEncoder(4))
    options = {"text_encoder": texts, "max_new_tokens": 4, "seed": 3}
    for tuning, pair in pairs.items():
        one, two = (
            collect(each.iter_caption(images, SPECS.get(decoder, decoder), **options), 2)
            for each in pair
        )
        assert one == two, tuning
        assert all(math.isfinite(best.logprob) for best, *_ in one), tuning


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
