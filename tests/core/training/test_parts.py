"""The parts of a training: loss, batches, schedule, and the scale of features and prefixes."""

from __future__ import annotations

import pytest
import torch
from core.training.world import gpt2, world
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from prefixcap.captioning.prefixer import FeatureNorm, Prefixer
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.language_model import LanguageModel
from prefixcap.interfaces.mapper import MapperConfig
from prefixcap.interfaces.session import SessionOptions
from prefixcap.interfaces.tuning import TuningConfig
from prefixcap.plugin.registry import default_registry
from prefixcap.training.batches import (
    CaptionBatch,
    TokenizedCaption,
    batches,
    find_end,
    tokenize,
)
from prefixcap.training.config import TrainingConfig
from prefixcap.training.initialization import build_prefixer, prefix_shape
from prefixcap.training.trainer import Trainer, fused_activations


def untrained(
    lm: LanguageModel, mapper: str, prefix_length: int, config: TrainingConfig | None = None
) -> Prefixer:
    mapper_config = default_registry().parse(MapperConfig, mapper)
    features, tuning = world()[0], default_registry().parse(TuningConfig, "frozen")
    shape = prefix_shape(lm, mapper_config, tuning, prefix_length, features)
    return build_prefixer(lm, mapper_config, shape, features, config or TrainingConfig())


def batch_of(rows: list[int], ids: list[list[int]]) -> CaptionBatch:
    captions = [TokenizedCaption(row, tuple(each)) for row, each in zip(rows, ids, strict=True)]
    return CaptionBatch.of(captions)


# --------------------------------------------------------------------------------------------- loss


@pytest.mark.parametrize("pad_id", [0, 3, 12])
def test_the_loss_uses_the_mask_and_not_a_pad_id(pad_id: int) -> None:
    lm = gpt2()
    features, _ = world()
    prefixer = untrained(lm, "mlp", 3)
    trainer = Trainer(lm, prefixer, TrainingConfig(), 10)
    short = trainer.loss(features[:1], batch_of([0], [[1, 0]]))
    long = trainer.loss(features[1:2], batch_of([0], [[0, 2, 5, 0]]))
    both = batch_of([0, 1], [[1, 0], [0, 2, 5, 0]])
    both.ids[0, 2:] = pad_id
    both = trainer.loss(features[:2], both)
    assert both.item() == pytest.approx((2 * short.item() + 4 * long.item()) / 6, abs=1e-5)


def test_the_loss_equals_the_cross_entropy_of_decoding_steps() -> None:
    lm = gpt2()
    features, _ = world()
    prefixer = untrained(lm, "linear", 2)
    ids = torch.tensor([[1, 4, 9]])
    batch = batch_of([0], ids.tolist())
    loss = Trainer(lm, prefixer, TrainingConfig(), 1).loss(features[:1], batch)
    session = lm.start(prefixer(features[:1]).detach(), SessionOptions())
    session.admit()
    total = 0.0
    for token in ids[0].tolist():
        total -= session.logits.log_softmax(-1)[0, token].item()
        session.advance(torch.tensor([token]), torch.tensor([0]))
    assert loss.item() == pytest.approx(total / 3, abs=1e-4)


@pytest.mark.parametrize("name", ["gelu_new", "gelu_fast"])
def test_fused_activations_compute_the_same_function(name: str) -> None:
    from transformers.activations import ACT2FN

    module = nn.Sequential(ACT2FN[name])
    x = torch.linspace(-9, 9, 1001, requires_grad=True)
    (expected,) = torch.autograd.grad(module(x).sum(), x)
    values = module(x)
    with fused_activations(module):
        assert isinstance(module[0], nn.GELU)
        torch.testing.assert_close(module(x), values, atol=2e-6, rtol=1e-5)
        (result,) = torch.autograd.grad(module(x).sum(), x)
        torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-5)
    assert type(module[0]) is type(ACT2FN[name])


# ------------------------------------------------------------------------------------------ batches


@given(
    rows=st.lists(st.integers(0, 9), min_size=1, max_size=60),
    size=st.integers(1, 8),
    seed=st.integers(0, 5),
    together=st.booleans(),
)
def test_batches_contain_every_caption_once(
    rows: list[int], size: int, seed: int, together: bool
) -> None:
    captions = [
        TokenizedCaption(row, (number, *range(number % 7))) for number, row in enumerate(rows)
    ]

    def draw() -> list[CaptionBatch]:
        stream = torch.Generator().manual_seed(seed)
        return list(batches(captions, size, stream, together=together))

    result = draw()
    assert [len(batch.ids) for batch in result].count(size) == len(rows) // size
    assert len(result) == -(-len(rows) // size)
    found = [
        TokenizedCaption(int(batch.rows[image]), tuple(ids[mask].tolist()))
        for batch in result
        for image, ids, mask in zip(batch.images, batch.ids, batch.mask, strict=True)
    ]
    assert sorted(found, key=lambda caption: caption.ids) == captions
    for one, other in zip(result, draw(), strict=True):
        assert torch.equal(one.ids, other.ids)
        assert torch.equal(one.rows, other.rows)
    for batch in result:
        assert batch.images.unique_consecutive().tolist() == list(range(len(batch.rows)))
        if together:
            assert len(set(batch.rows.tolist())) == len(batch.rows)


def test_images_stay_whole_in_grouped_batches() -> None:
    captions = [TokenizedCaption(n % 40, tuple(range(1 + n % 9))) for n in range(200)]
    stream = torch.Generator().manual_seed(0)
    for batch in batches(captions, 20, stream, together=True):
        assert len(batch.rows) == 4
        assert batch.images.tolist() == [image for image in range(4) for _ in range(5)]


def test_batches_have_little_padding() -> None:
    captions = [TokenizedCaption(row, tuple(range(1 + row * 7 % 30))) for row in range(400)]
    waste = sum(
        batch.mask.numel() - batch.tokens
        for batch in batches(captions, 20, torch.Generator().manual_seed(0))
    )
    assert waste < 0.1 * sum(len(caption.ids) for caption in captions)


def test_captions_end_with_the_end_token_or_at_a_visible_text() -> None:
    lm = gpt2()
    captions = [["a dog runs", "two cat ."], ["a cat", ""]]
    ended = tokenize(lm, captions, TrainingConfig())
    assert [pair.row for pair in ended] == [0, 1, 0]
    assert ended[1].ids == (0, 2, 7, 12)
    stopped = tokenize(lm, captions, TrainingConfig(end=".", caption_format="plain"))
    assert [pair.ids for pair in stopped] == [(0, 1, 3), (0, 2), (8, 2, 7)]
    assert find_end(lm, ".").visible
    assert find_end(lm, ".").token == 7


@pytest.mark.parametrize(
    ("lm", "end", "reason"),
    [
        (gpt2(eos=False), "eos", "no end-of-text token: set the training's end to '.'"),
        (gpt2(), "dog cat", "cannot end at 'dog cat': it is 2 tokens"),
    ],
)
def test_invalid_caption_ends_are_errors(lm: LanguageModel, end: str, reason: str) -> None:
    with pytest.raises(PrefixcapError, match=reason):
        find_end(lm, end)


# ----------------------------------------------------------------------------------------- schedule


def test_the_rate_rises_and_falls() -> None:
    linear = TrainingConfig(warmup_steps=20, schedule="linear")
    assert [linear.factor(n, 700) for n in (0, 10, 20, 360, 700)] == [0, 0.5, 1, 0.5, 0]
    cosine = [TrainingConfig(warmup=0.1).factor(n, 100) for n in range(101)]
    assert cosine[0] == 0.1
    assert max(cosine) == cosine[10] == 1
    assert cosine[10:] == sorted(cosine[10:], reverse=True)
    assert cosine[-1] == pytest.approx(0)
    assert TrainingConfig(schedule="constant", warmup=0).factor(99, 100) == 1


def test_wider_models_get_smaller_rates() -> None:
    assert TrainingConfig().rate(576) == pytest.approx(6.9e-4, rel=0.01)
    assert TrainingConfig(learning_rate=0.5).rate(576) == 0.5


def test_training_configs_round_trip_through_json() -> None:
    config = TrainingConfig(epochs=2, end=".", patience=None)
    assert TrainingConfig.from_json(config.to_json()) == config
    with pytest.raises(PrefixcapError, match=r"no setting 'epoch'; did you mean 'epochs'\?"):
        TrainingConfig.from_json({"epoch": 2})
    with pytest.raises(PrefixcapError, match="epochs must be at least 0, not -1"):
        TrainingConfig.from_json({"epochs": -1})


# ----------------------------------------------------------------------------------------- features


@given(st.integers(0, 50), st.booleans(), st.booleans())
def test_features_are_centered_and_scaled(seed: int, tokens: bool, normalize: bool) -> None:
    shape = (20, 3, 5) if tokens else (20, 5)
    features = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 4 + 3
    result = FeatureNorm.fit(features, normalize=normalize, rms=0.3)(features)
    assert result.shape == features.shape
    torch.testing.assert_close(result.reshape(-1, 5).mean(0), torch.zeros(5), atol=1e-5, rtol=0)
    assert result.square().mean().sqrt().item() == pytest.approx(0.3, rel=1e-4)


def test_constant_features_do_not_divide_by_zero() -> None:
    result = FeatureNorm.fit(torch.ones(4, 5), rms=0.3)(torch.ones(2, 5))
    assert torch.equal(result, torch.zeros(2, 5))


@pytest.mark.parametrize("mapper", ["mlp", "linear", "transformer:num_layers=2,heads=2"])
def test_prefixes_start_with_the_configured_scale(mapper: str) -> None:
    lm = gpt2()
    features, _ = world()
    torch.manual_seed(0)
    prefixer = untrained(lm, mapper, 4, TrainingConfig(prefix_scale=3.0))
    own = lm.embed(torch.arange(lm.vocab_size)).std().item()
    assert prefixer(features).std().item() == pytest.approx(3 * own, rel=0.02)
