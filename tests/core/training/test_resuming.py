"""Interrupted trainings, which end with the bits of an uninterrupted one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from core.training.world import gpt2, trained, weights, world
from hypothesis import given, settings
from hypothesis import strategies as st

from prefixcap.captioning.captioner import Captioner
from prefixcap.errors import PrefixcapError
from prefixcap.training import checkpoint
from prefixcap.training.checkpoint import TrainingCheckpoint
from prefixcap.training.config import TrainingConfig
from prefixcap.training.train import train


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
    val_captions: list[list[str]] | None = None,
) -> Captioner:
    """Train 6 steps per epoch with dropout, until the validation loss stops improving."""

    def progress(done: int, _total: int, _info: object) -> None:
        if done == die_at:
            raise Killed

    features, captions = world()
    return train(
        gpt2(dropout=0.2),
        "mlp",
        3,
        tuning,
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
