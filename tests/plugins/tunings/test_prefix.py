"""Tunings and mappers whose prefixes hold more than embeddings, from training to captions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from core.test_captioner import CAPTIONS, lm_folder
from core.training.world import gpt2, world
from prefixcap_tunings.prefix import CrossAttentionTuning
from safetensors.torch import load_file
from torch import Tensor, nn

from prefixcap.captioning.captioner import Captioner
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.language_model import LMConfig
from prefixcap.interfaces.mapper import MapperConfig, MapperShape
from prefixcap.plugin.registry import default_registry
from prefixcap.plugin.specs import to_spec
from prefixcap.training.config import TrainingConfig
from prefixcap.training.train import train

TUNED = [
    ("frozen", "deep:mapper=linear,rank=4"),
    ("cross-attention:head_width=2", "deep:mapper=mlp:hidden=5,rank=4"),
    ("deep-prefix:length=1", "deep:rank=3"),
]
# Those that need what is not here: an encoder, words, another model, more layers.
SPECS = {
    "best-of": None,
    "constrained": "constrained:force_words=dog",
    "contrastive-decoding": "contrastive-decoding:against=start",
    "magic": None,
    "zerocap": None,
    "conzic": None,
    "dola": None,
    "guidance": "guidance:against=start",
    "speculative": "speculative:draft={lm}",
}


@attrs.frozen(eq=False)
class Run:
    captioner: Captioner
    features: Tensor
    untouched: dict[str, Tensor]

    @property
    def added(self) -> dict[str, nn.Parameter]:
        named = self.captioner.lm.module.named_parameters()
        return {name: p for name, p in named if name not in self.untouched}


@pytest.fixture(scope="module", params=TUNED, ids=":".join)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    tuning, mapper = request.param
    folder = lm_folder(tmp_path_factory.mktemp("lm"))
    features, _ = world(8)
    config = TrainingConfig(epochs=12, batch_size=8, learning_rate=1e-2, patience=None)
    lm = f"hf:model={folder}"
    captioner = train(lm, mapper, 3, tuning, features, CAPTIONS, config=config)
    plain = default_registry().parse(LMConfig, lm).build().module
    return Run(captioner, features, dict(plain.named_parameters()))


def test_training_lowers_the_loss_and_changes_no_weight_of_the_model(run: Run) -> None:
    losses = run.captioner.history["train_loss"]
    assert losses[-1] < losses[0]  # little, as the model itself knows nothing
    own = dict(run.captioner.lm.module.named_parameters())
    for name, weight in run.untouched.items():
        assert torch.equal(own[name], weight)
    counted = [*run.added.values(), *run.captioner.prefixer.parameters()]
    assert run.captioner.trained_parameters == sum(p.numel() for p in counted)


def test_every_decoder_captions_alike_after_loading(run: Run, tmp_path: Path) -> None:
    run.captioner.save(tmp_path)
    weights = load_file(tmp_path / "weights.safetensors")
    stored = {name.removeprefix("lm.") for name in weights if name.startswith("lm.")}
    assert stored == set(run.added)
    loaded = Captioner.load(tmp_path)
    for name in default_registry().names("decoder"):
        spec = SPECS.get(name, name)
        if spec is not None:
            spec = spec.format(lm=to_spec(run.captioner.lm_config))
            assert captions(loaded, run.features, spec) == captions(
                run.captioner, run.features, spec
            )


def captions(captioner: Captioner, features: Tensor, decoder: str) -> Any:
    return captioner.caption(features=features[:3], decoder=decoder, max_new_tokens=6)


def test_val_images_are_captioned_up_to_the_last_position() -> None:
    features, texts = world(8)
    config = TrainingConfig(epochs=1, batch_size=8, sample_images=2)
    val = {"val_features": features, "val_captions": texts}
    # 56 positions of keys and values and the token at which captions begin leave 7 of 64
    captioner = train(gpt2(), "deep:rank=2", 56, "frozen", features, texts, config=config, **val)
    assert captioner.prefix_length == 57
    assert captioner.history["samples"]


def test_cross_attention_needs_layers() -> None:
    shape = MapperShape(feature_width=2, feature_tokens=None, prefix_length=1, embedding_width=16)
    model: Any = gpt2().module
    model.transformer.h = nn.ModuleList()
    with pytest.raises(PrefixcapError, match="as its config says, and GPT2LMHeadModel has none"):
        CrossAttentionTuning().build().apply(model, shape)


def test_a_deep_mapper_is_refused_where_it_does_not_fit() -> None:
    shape = MapperShape(feature_width=2, feature_tokens=None, prefix_length=1, embedding_width=16)
    deep = default_registry().parse(MapperConfig, "deep")
    with pytest.raises(PrefixcapError, match="this language model does not take: use another"):
        deep.build(shape)
    with pytest.raises(PrefixcapError, match="'deep' gives keys and values already"):
        default_registry().parse(MapperConfig, "deep:mapper=deep")
    features, texts = world()
    with pytest.raises(PrefixcapError, match="start=ridge fits prefixes to the embeddings"):
        train(gpt2(), "deep", 2, "frozen", features, texts, config=TrainingConfig(start="ridge"))


@pytest.mark.parametrize(("tuning", "mapper"), TUNED)
def test_layers_that_are_computed_again_give_the_same_losses(tuning: str, mapper: str) -> None:
    features, texts = world(8)
    losses = []
    for again in (False, True):
        config = TrainingConfig(epochs=2, batch_size=8, gradient_checkpointing=again)
        captioner = train(gpt2(), mapper, 2, tuning, features, texts, config=config)
        losses.append(captioner.history["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize(("tuning", "mapper"), TUNED)
def test_the_language_model_may_be_in_bfloat16(tuning: str, mapper: str) -> None:
    features, texts = world(8)
    lm = gpt2()
    lm.module.to(torch.bfloat16)
    config = TrainingConfig(epochs=2, batch_size=8)
    captioner = train(lm, mapper, 2, tuning, features, texts, config=config)
    trained = [p for p in captioner.lm.module.parameters() if p.requires_grad]
    assert all(p.dtype == torch.float32 for p in trained)
    assert captions(captioner, features, "beam")
