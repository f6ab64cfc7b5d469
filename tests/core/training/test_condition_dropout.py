"""Images that are left out of training steps, and the prefix that stands for them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from core.training.test_resuming import Killed, WritesAt, same
from core.training.world import gpt2, trained, world
from torch import nn

import prefixcap
from prefixcap.captioning.captioner import Captioner
from prefixcap.captioning.prefixer import FeatureNorm, Prefixer
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.language_model import LMConfig
from prefixcap.interfaces.mapper import MapperShape
from prefixcap.training.batches import CaptionBatch, tokenize
from prefixcap.training.config import TrainingConfig


def prefixer(tokens: int | None, share: float) -> Prefixer:
    """Map feature tokens (B,N,D) by their mean to prefixes (B,2,3)."""
    shape = MapperShape(feature_width=4, feature_tokens=tokens, prefix_length=2, embedding_width=3)

    class Mean(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 6)

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            pooled = features if tokens is None else features.mean(1)
            return self.layer(pooled).view(-1, 2, 3)

    result = Prefixer(FeatureNorm(torch.ones(4), 0.5), Mean(), shape, 2.0)
    result.condition_dropout = share
    return result


@pytest.mark.parametrize("tokens", [None, 3])
def test_each_image_is_left_out_on_its_own(tokens: int | None) -> None:
    module = prefixer(tokens, 0.3)
    features = torch.randn(4000, *([] if tokens is None else [tokens]), 4)
    with torch.no_grad():
        shown, null = module.eval()(features), module.null_prefix()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            mixed = module.train()(features)
    left_out = torch.isclose(mixed, null).flatten(1).all(1)
    assert left_out.float().mean().item() == pytest.approx(0.3, abs=0.03)
    torch.testing.assert_close(mixed[~left_out], shown[~left_out])
    # the mean of the training images
    mean = torch.ones(1, *([] if tokens is None else [tokens]), 4)
    torch.testing.assert_close(null, module.eval()(mean)[0])


def test_nothing_is_drawn_without_dropout_or_training() -> None:
    features = torch.randn(5, 4)
    for share, mode in ((0.0, True), (0.3, False)):
        before = torch.random.get_rng_state()
        prefixer(None, share).train(mode)(features)
        # building the layer draws its weights
        torch.random.set_rng_state(before)
        prefixer(None, 0.0)
        after = torch.random.get_rng_state()
        torch.random.set_rng_state(before)
        module = prefixer(None, share).train(mode)
        module(features)
        assert torch.equal(torch.random.get_rng_state(), after)


def null_loss(captioner: Captioner) -> float:
    """Return the mean loss of the world's captions after the prefix for no image."""
    _, captions = world()
    batch = CaptionBatch.of(tokenize(captioner.lm, captions, TrainingConfig()))
    with torch.no_grad():
        prefix = captioner.prefixer.null_prefix().expand(len(batch.rows), -1, -1)
        loss = captioner.lm.caption_loss(prefix, batch.images, batch.ids, batch.mask)
    return loss.item() / batch.tokens


def test_training_without_images_is_training_on_the_null_prefix() -> None:
    plain, blind = (trained(gpt2(), "full", epochs=8, condition_dropout=s) for s in (0.0, 1.0))
    # the last steps are too small to change it
    assert null_loss(blind) == pytest.approx(sum(blind.history["loss"][-6:]) / 6, abs=2e-3)
    assert null_loss(blind) > sum(plain.history["loss"][-6:]) / 6
    # the features' weights have had no gradient, and the others have
    start = trained(gpt2(), "full", epochs=0)
    (first, _, last), (_, _, other) = blind.prefixer.mapper.layers, start.prefixer.mapper.layers
    assert torch.equal(first.weight, start.prefixer.mapper.layers[0].weight)
    assert not torch.equal(last.weight, other.weight)


def test_a_killed_training_leaves_out_the_same_images(tmp_path: Path) -> None:
    def run(die_at: int = 0, checkpoint: WritesAt | None = None) -> Captioner:
        def progress(done: int, _total: int, _info: object) -> None:
            if done == die_at:
                raise Killed

        settings = {"condition_dropout": 0.4, "progress": progress, "checkpoint": checkpoint}
        return trained(gpt2(), "full", **settings)

    whole, path = run(), tmp_path / "state.pt"
    with pytest.raises(Killed):
        run(11, WritesAt(path, {9}))
    assert path.exists()
    assert same(run(checkpoint=WritesAt(path, set())), whole)
    assert not same(trained(gpt2(), "full"), whole)


def test_guidance_decodes_against_the_prefix_that_was_trained(tmp_path: Path) -> None:
    captioner = trained(gpt2(), "full", condition_dropout=0.5, epochs=4)
    features, _ = world()
    given = {"max_new_tokens": 6, "stop_ids": captioner.stop_ids}
    decoder = "guidance:scale=3,against=null"
    own = captioner.caption(features=features[:4], decoder=decoder, max_new_tokens=6)
    prefix, null = captioner.prefixes(features[:4]), captioner.prefixer.null_prefix()
    by_hand = prefixcap.decode(captioner.lm, prefix, decoder, null_prefix=null, **given)
    assert [h[0].ids for h in own] == [h[0].ids for h in by_hand]
    with pytest.raises(PrefixcapError, match="against='null' needs the prefix of an image that is"):
        prefixcap.decode(captioner.lm, prefix, decoder, **given)
    for wrong in (null[None], null[:0], null[:, :3], torch.zeros(4, 16)):
        with pytest.raises(PrefixcapError, match=r"null_prefix must be of shape \(P',16\) with at"):
            prefixcap.decode(captioner.lm, prefix, decoder, null_prefix=wrong, **given)


def test_a_saved_model_has_the_prefix_for_no_image(tmp_path: Path) -> None:
    lm = prefixcap.Registry().parse(LMConfig, "scenes-gpt2")
    config = TrainingConfig(condition_dropout=0.5, epochs=1)
    features = torch.randn(4, 6)
    captioner = prefixcap.train(
        lm, "linear", 2, "frozen", features, [["A dog."]] * 4, config=config
    )
    captioner.save(tmp_path / "run")
    loaded = Captioner.load(tmp_path / "run")
    assert torch.equal(loaded.prefixer.null_prefix(), captioner.prefixer.null_prefix())


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_is_between_0_and_1(share: float) -> None:
    with pytest.raises(PrefixcapError, match="condition_dropout must be"):
        TrainingConfig.from_json({"condition_dropout": share})
