from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from prefixcap.captioning.captioner import Captioner
from prefixcap.captioning.prefixer import FeatureNorm, Prefixer
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.language_model import LanguageModel
from prefixcap.interfaces.mapper import MapperConfig, MapperShape
from prefixcap.interfaces.session import SessionOptions
from prefixcap.interfaces.tuning import TuningConfig
from prefixcap.plugin.registry import default_registry
from prefixcap.training import checkpoint
from prefixcap.training.batches import TokenizedCaption, batches, find_end, pad, sentence, tokenize
from prefixcap.training.checkpoint import TrainingCheckpoint
from prefixcap.training.config import TrainingConfig
from prefixcap.training.initialization import build_prefixer
from prefixcap.training.train import train
from prefixcap.training.trainer import Trainer, fused_activations

WORDS = ("a", "dog", "cat", "runs", "sits", "red", "blue", ".", "two", "on", "grass", "snow")
COLOURS = ("red", "blue")


class WordTokenizer:
    """The smallest tokenizer that satisfies transformers: one id per word."""

    eos_token_id = len(WORDS)

    def encode(self, text: str, **_: Any) -> list[int]:
        words = text.lower().replace(".", " .").split()
        return [WORDS.index(word) for word in words]

    def decode(self, ids: list[int], **_: Any) -> str:
        return " ".join(WORDS[i] for i in ids if i < len(WORDS))

    def get_vocab(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(WORDS)}


def gpt2(dropout: float = 0.0, eos: bool = True) -> LanguageModel:
    from transformers import GPT2Config, GPT2LMHeadModel

    from prefixcap.engine.causal_lm import from_transformers

    with torch.random.fork_rng():
        torch.manual_seed(7)
        config = GPT2Config(
            vocab_size=len(WORDS) + 1,
            n_embd=16,
            n_layer=1,
            n_head=2,
            n_positions=64,
            resid_pdrop=dropout,
            embd_pdrop=dropout,
            attn_pdrop=dropout,
            bos_token_id=None,
            eos_token_id=None,
        )
        model = GPT2LMHeadModel(config)
    tokenizer = WordTokenizer()
    if not eos:
        tokenizer.eos_token_id = None  # type: ignore[assignment]
    return from_transformers(model, tokenizer)


def config_of(base: type[Any], spec: str) -> Any:
    return default_registry().parse(base, spec)


def world(images: int = 24) -> tuple[Tensor, list[list[str]]]:
    """Features of two kinds of images, whose captions name the kind."""
    generator = torch.Generator().manual_seed(1)
    sort = torch.arange(images) % 2
    features = torch.randn(images, 6, generator=generator) * 0.1
    features[:, 0] += sort * 2.0 - 1.0
    captions = [[f"a {COLOURS[s]} dog runs", f"two {COLOURS[s]} cat sits"] for s in sort.tolist()]
    return features, captions


def trained(lm: LanguageModel | None = None, tuning: str = "full", **options: Any) -> Captioner:
    features, captions = world()
    settings = {"epochs": 3, "batch_size": 8, "learning_rate": 1e-2, "lm_lr_scale": 1.0, **options}
    extra = {
        k: settings.pop(k) for k in ("progress", "seed", "on_epoch", "checkpoint") if k in settings
    }
    return train(
        lm or gpt2(),
        config_of(MapperConfig, "mlp"),
        3,
        config_of(TuningConfig, tuning),
        features,
        captions,
        config=TrainingConfig(**settings),
        **extra,
    )


def weights(model: Captioner) -> list[Tensor]:
    return [*model.prefixer.state_dict().values(), *model.lm.module.parameters()]


# ----------------------------------------------------------------------------------------- learning


def test_a_trained_model_describes_the_image() -> None:
    model = trained(epochs=60)
    features, _ = world()
    captions = model.caption(features=features[:6], decoder="greedy")
    for number, result in enumerate(captions):
        assert COLOURS[number % 2] in result[0].text
        assert COLOURS[1 - number % 2] not in result[0].text
        assert result[0].finish_reason == "stop"
    assert model.history["train_loss"][-1] < 0.3 * model.history["train_loss"][0]


def test_a_frozen_model_is_not_copied_and_not_changed() -> None:
    lm = gpt2()
    before = [p.detach().clone() for p in lm.module.parameters()]
    model = trained(lm, "frozen")
    assert model.lm is lm
    assert all(torch.equal(a, b) for a, b in zip(before, lm.module.parameters(), strict=True))
    assert not any(p.requires_grad or p.grad is not None for p in lm.module.parameters())
    assert model.trained_parameters == sum(p.numel() for p in model.prefixer.parameters())
    assert model.history["train_loss"][-1] < model.history["train_loss"][0]


def test_a_tuned_model_is_a_copy() -> None:
    lm = gpt2()
    before = [p.detach().clone() for p in lm.module.parameters()]
    model = trained(lm)
    assert all(torch.equal(a, b) for a, b in zip(before, lm.module.parameters(), strict=True))
    assert not torch.equal(before[0], next(iter(model.lm.module.parameters())))
    every = [*model.prefixer.parameters(), *lm.module.parameters()]
    assert model.trained_parameters == sum(p.numel() for p in every)


def test_training_depends_on_the_seed_and_not_on_global_states() -> None:
    torch.manual_seed(1)
    one = trained(gpt2(dropout=0.1))
    state = torch.random.get_rng_state()
    torch.manual_seed(2)
    torch.rand(5)
    other_state = torch.random.get_rng_state()
    two = trained(gpt2(dropout=0.1))
    assert torch.equal(torch.random.get_rng_state(), other_state)
    assert not torch.equal(state, other_state)
    assert one.history["loss"] == two.history["loss"]
    assert all(torch.equal(a, b) for a, b in zip(weights(one), weights(two), strict=True))
    three = trained(gpt2(dropout=0.1), seed=1)
    assert three.history["loss"] != one.history["loss"]


def test_a_bfloat16_model_trains_a_float32_mapper() -> None:
    lm = gpt2()
    lm.module.to(torch.bfloat16)
    model = trained(lm, "frozen")
    assert {p.dtype for p in model.prefixer.parameters()} == {torch.float32}
    assert model.history["train_loss"][-1] < model.history["train_loss"][0]


@pytest.mark.parametrize("keep", ["best", "last"])
def test_training_stops_early_and_keeps_an_epochs_weights(keep: str) -> None:
    features, captions = world()
    wrong = [captions[1], captions[0]] * 12  # gets worse as the training split is learned
    kept: list[list[Tensor]] = []
    model = train(
        gpt2(),
        config_of(MapperConfig, "mlp"),
        3,
        config_of(TuningConfig, "full"),
        features,
        captions,
        config=TrainingConfig(
            epochs=40, batch_size=8, learning_rate=1e-2, lm_lr_scale=1.0, patience=2, keep=keep
        ),
        val_features=features,
        val_captions=wrong,
        on_epoch=lambda _, m: kept.append([p.detach().clone() for p in m.prefixer.parameters()]),
    )
    losses = model.history["val_loss"]
    best = losses.index(min(losses))
    assert len(losses) == best + 3 < 40
    index = best if keep == "best" else len(losses) - 1
    assert model.history["best_epoch"] == index + 1
    result = list(model.prefixer.parameters())
    assert all(torch.equal(a, b) for a, b in zip(kept[index], result, strict=True))
    assert not torch.equal(kept[best][0], kept[-1][0])


def test_noise_is_added_in_training_only() -> None:
    one, two, quiet = (
        trained(gpt2(), "frozen", feature_noise=noise, epochs=1) for noise in (0.5, 0.5, 0.0)
    )
    assert one.history["loss"] == two.history["loss"] != quiet.history["loss"]
    features = torch.zeros(1, 4000)
    shape = MapperShape(
        feature_width=4000, feature_tokens=None, prefix_length=1, embedding_width=4000
    )
    prefixer = Prefixer(FeatureNorm(features[0]), nn.Unflatten(1, (1, -1)), shape)
    prefixer.noise = one.prefixer.noise
    assert prefixer.train()(features).std().item() == pytest.approx(0.5, rel=0.1)
    assert prefixer.eval()(features).std() == 0


def test_progress_counts_every_step() -> None:
    seen: list[tuple[int, int, int]] = []
    trained(progress=lambda done, total, info: seen.append((done, total, info["epoch"])))
    assert [done for done, _, _ in seen] == list(range(1, 19))
    assert {total for _, total, _ in seen} == {18}
    assert [epoch for _, _, epoch in seen] == [1] * 6 + [2] * 6 + [3] * 6


# ----------------------------------------------------------------------------------------- resuming


class Killed(BaseException):
    """An interruption that no code may catch."""


class WritesAt(TrainingCheckpoint):
    """Writes only after chosen steps."""

    def __init__(self, path: Path, at: set[int]) -> None:
        super().__init__(path)
        self.at, self.asked = at, 0

    def due(self, *, epoch_ended: bool = False) -> bool:
        self.asked += not epoch_ended
        return self.asked in self.at


@pytest.fixture(scope="module")
def uninterrupted() -> dict[str, Captioner]:
    return {tuning: with_val(tuning) for tuning in ("frozen", "full")}


def with_val(
    tuning: str,
    checkpoint: TrainingCheckpoint | None = None,
    die_at: int = 0,
    lm: LanguageModel | None = None,
    val_captions: list[list[str]] | None = None,
) -> Captioner:
    """Train 6 steps per epoch with dropout, until the validation loss stops improving."""

    def progress(done: int, _total: int, _info: object) -> None:
        if done == die_at:
            raise Killed

    features, captions = world()
    return train(
        lm or gpt2(dropout=0.2),
        config_of(MapperConfig, "mlp"),
        3,
        config_of(TuningConfig, tuning),
        features,
        captions,
        config=TrainingConfig(
            epochs=4, batch_size=8, learning_rate=2e-2, lm_lr_scale=1.0, patience=2
        ),
        val_features=features.flip(0),
        val_captions=val_captions or captions,
        progress=progress,
        checkpoint=checkpoint,
    )


def same(one: Captioner, two: Captioner) -> bool:
    histories = [{k: v for k, v in m.history.items() if k != "seconds"} for m in (one, two)]
    return histories[0] == histories[1] and all(
        torch.equal(a, b) for a, b in zip(weights(one), weights(two), strict=True)
    )


@given(
    tuning=st.sampled_from(["frozen", "full"]),
    die_at=st.integers(1, 18),
    kept_at=st.sets(st.integers(0, 18), max_size=3),
)
@settings(max_examples=12, deadline=None)
def test_a_resumed_training_ends_with_the_same_bits(
    uninterrupted: dict[str, Captioner],
    tmp_path_factory: pytest.TempPathFactory,
    tuning: str,
    die_at: int,
    kept_at: set[int],
) -> None:
    file = tmp_path_factory.mktemp("killed") / "training.ckpt"
    try:
        with_val(tuning, WritesAt(file, kept_at), die_at)
    except Killed:
        torch.rand(3)  # Another process starts from another state.
    assert same(with_val(tuning, TrainingCheckpoint(file)), uninterrupted[tuning])


def test_a_training_resumed_many_times_ends_with_the_same_bits(
    uninterrupted: dict[str, Captioner], tmp_path: Path
) -> None:
    steps = len(uninterrupted["full"].history["loss"])
    for step in range(1, steps + 1):
        with pytest.raises(Killed):
            with_val("full", TrainingCheckpoint(tmp_path / "at", every=0, share=1e9), step)
    result = with_val("full", TrainingCheckpoint(tmp_path / "at"))
    assert same(result, uninterrupted["full"])
    assert len(result.history["seconds"]) == len(result.history["val_loss"])


def test_the_state_of_another_training_is_ignored(tmp_path: Path) -> None:
    file = tmp_path / "at"
    one = trained(checkpoint=TrainingCheckpoint(file, every=0))
    assert file.exists()
    other = trained(checkpoint=TrainingCheckpoint(file), epochs=2)
    assert len(other.history["loss"]) == 12
    assert same(other, trained(epochs=2))
    assert not same(one, other)
    TrainingCheckpoint(file).remove()
    assert not file.exists()
    file.write_bytes(b"no state")
    with pytest.raises(PrefixcapError, match=r"at is broken \(.*\): delete it to train again"):
        trained(checkpoint=TrainingCheckpoint(file))


def test_the_state_with_other_validation_data_is_ignored(tmp_path: Path) -> None:
    file = tmp_path / "at"
    other = [["a dog runs"] for _ in world()[1]]
    with pytest.raises(Killed):
        with_val("frozen", TrainingCheckpoint(file, every=0, share=1e9), 9)
    assert file.exists()
    result = with_val("frozen", TrainingCheckpoint(file), val_captions=other)
    assert same(result, with_val("frozen", val_captions=other))


def test_too_long_validation_captions_are_an_error_before_training() -> None:
    long = [["dog " * 63] for _ in world()[1]]
    with pytest.raises(PrefixcapError, match="a prefix of 3 and a caption of 65 tokens do not fit"):
        with_val("frozen", val_captions=long, die_at=1)


def test_a_validation_loss_that_is_not_finite_is_an_error() -> None:
    lm = gpt2()
    with torch.no_grad():
        lm.module.get_parameter("transformer.wpe.weight")[8:] = torch.nan
    features, captions = world()
    with pytest.raises(PrefixcapError, match="the validation loss is not a number"):
        train(
            lm,
            config_of(MapperConfig, "linear"),
            3,
            config_of(TuningConfig, "frozen"),
            features,
            [["a dog"] for _ in captions],
            config=TrainingConfig(epochs=1),
            val_features=features,
            val_captions=[["a dog runs on grass two dog"] for _ in captions],
        )


def test_writing_checkpoints_takes_a_small_share_of_the_time(tmp_path: Path) -> None:
    clock = [100.0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint.time, "monotonic", lambda: clock[0])
        result = TrainingCheckpoint(tmp_path / "at", every=60, share=0.01)
        assert not result.due()
        assert result.due(epoch_ended=True)

        def slow(path: Path, content: bytes) -> None:
            clock[0] += 3.0

        patch.setattr(checkpoint.files, "atomic_write", slow)
        result.write({})
        for passed, expected in ((299.0, False), (2.0, True)):
            clock[0] += passed
            assert result.due() is result.due(epoch_ended=True) is expected


def test_all_global_random_states_are_restored() -> None:
    import random

    import numpy as np

    def states() -> list[object]:
        return [torch.random.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1:]]

    random.seed(5)
    np.random.seed(5)
    before = repr(states())
    trained()
    assert repr(states()) == before


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


# --------------------------------------------------------------------------------------------- loss


@pytest.mark.parametrize("pad_id", [0, 3, 12])
def test_the_loss_uses_the_mask_and_not_a_pad_id(pad_id: int) -> None:
    lm = gpt2()
    features, _ = world()
    prefixer = build_prefixer(lm, config_of(MapperConfig, "mlp"), 3, features, TrainingConfig())
    trainer = Trainer(lm, prefixer, TrainingConfig(), 10)
    short = trainer.loss(features[:1], torch.tensor([[1, 0]]), torch.ones(1, 2, dtype=torch.bool))
    long = trainer.loss(
        features[1:2], torch.tensor([[0, 2, 5, 0]]), torch.ones(1, 4, dtype=torch.bool)
    )
    ids = torch.tensor([[1, 0, pad_id, pad_id], [0, 2, 5, 0]])
    mask = torch.tensor([[True, True, False, False], [True] * 4])
    both = trainer.loss(features[:2], ids, mask)
    assert both.item() == pytest.approx((2 * short.item() + 4 * long.item()) / 6, abs=1e-5)


def test_the_loss_equals_the_cross_entropy_of_decoding_steps() -> None:
    lm = gpt2()
    features, _ = world()
    prefixer = build_prefixer(lm, config_of(MapperConfig, "linear"), 2, features, TrainingConfig())
    ids = torch.tensor([[1, 4, 9]])
    loss = Trainer(lm, prefixer, TrainingConfig(), 1).loss(
        features[:1], ids, torch.ones(1, 3, dtype=torch.bool)
    )
    session = lm.start(prefixer(features[:1]).detach(), SessionOptions())
    session.admit()
    total = 0.0
    for token in ids[0].tolist():
        total -= session.logits.log_softmax(-1)[0, token].item()
        session.advance(torch.tensor([token]), torch.tensor([0]))
    assert loss.item() == pytest.approx(total / 3, abs=1e-4)


def test_a_loss_that_is_not_finite_is_an_error() -> None:
    @attrs.frozen(kw_only=True)
    class Broken(MapperConfig):
        name = "broken"

        def build(self, shape: MapperShape) -> nn.Module:
            module = default_registry().parse(MapperConfig, "linear").build(shape)
            next(iter(module.parameters())).data.fill_(math.nan)
            return module

    features, captions = world()
    with pytest.raises(PrefixcapError, match="the loss became nan: lower the learning rate"):
        train(
            gpt2(), Broken(), 2, config_of(TuningConfig, "frozen"), features, captions,
            config=TrainingConfig(epochs=1),
        )  # fmt: skip


# ------------------------------------------------------------------------------------------ batches


@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=60),
    size=st.integers(1, 8),
    seed=st.integers(0, 5),
)
def test_batches_contain_every_caption_once(lengths: list[int], size: int, seed: int) -> None:
    pairs = [TokenizedCaption(row, tuple(range(length))) for row, length in enumerate(lengths)]
    result = list(batches(pairs, size, torch.Generator().manual_seed(seed)))
    assert sorted(pair.row for batch in result for pair in batch) == list(range(len(pairs)))
    assert all(1 <= len(batch) <= size for batch in result)
    again = list(batches(pairs, size, torch.Generator().manual_seed(seed)))
    assert result == again
    for batch in result:
        rows, ids, mask = pad(batch)
        assert mask.sum(1).tolist() == [len(pair.ids) for pair in batch]
        assert [tuple(i[m].tolist()) for i, m in zip(ids, mask, strict=True)] == [
            pair.ids for pair in batch
        ]
        assert rows.tolist() == [pair.row for pair in batch]


def test_batches_have_little_padding() -> None:
    pairs = [TokenizedCaption(row, tuple(range(1 + row * 7 % 30))) for row in range(400)]
    waste = sum(
        int((~pad(batch)[2]).sum())
        for batch in batches(pairs, 20, torch.Generator().manual_seed(0))
    )
    assert waste < 0.1 * sum(len(pair.ids) for pair in pairs)


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a black dog runs .", "A black dog runs."),
        ("  Two  dogs , one red .", "Two dogs, one red."),
        ("a man 's hat", "A man's hat."),
        (" . ", ""),
    ],
)
def test_sentences(caption: str, expected: str) -> None:
    assert sentence(caption) == expected


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
    with pytest.raises(PrefixcapError, match="epochs must be at least 1, not 0"):
        TrainingConfig.from_json({"epochs": 0})


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
    prefixer = build_prefixer(
        lm, config_of(MapperConfig, mapper), 4, features, TrainingConfig(prefix_scale=3.0)
    )
    own = lm.embed(torch.arange(lm.vocab_size)).std().item()
    assert prefixer(features).std().item() == pytest.approx(3 * own, rel=0.02)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"features": torch.zeros(3, 6)}, "train: 3 features were given for the captions of 24"),
        ({"features": torch.zeros(24)}, r"must be of shape \(B,D\) or \(B,N,D\), not \(24,\)"),
        ({"features": torch.full((24, 6), math.nan)}, "train: the feature in row 0 is not finite"),
        ({"val_features": torch.zeros(2, 6)}, "validation needs both features and captions"),
        ({"captions": [[""]] * 24}, "there is no caption to train on"),
    ],
)
def test_invalid_training_arguments_are_errors(change: dict[str, Any], reason: str) -> None:
    features, captions = world()
    arguments: dict[str, Any] = {"features": features, "captions": captions, **change}
    with pytest.raises(PrefixcapError, match=reason):
        train(
            gpt2(),
            config_of(MapperConfig, "linear"),
            2,
            config_of(TuningConfig, "frozen"),
            arguments.pop("features"),
            arguments.pop("captions"),
            **arguments,
        )


def test_captions_that_exceed_the_positions_are_an_error() -> None:
    features, captions = world()
    captions[3] = ["a dog runs on grass " * 13]
    with pytest.raises(PrefixcapError, match="train: a prefix of 2 and a caption of 65 tokens"):
        train(
            gpt2(),
            config_of(MapperConfig, "linear"),
            2,
            config_of(TuningConfig, "frozen"),
            features,
            captions,
        )


def test_a_half_precision_model_is_not_tuned() -> None:
    lm = gpt2()
    lm.module.to(torch.bfloat16)
    with pytest.raises(PrefixcapError, match="lost in bfloat16: use dtype float32"):
        trained(lm, "full")
