"""Interrupted trainings, which end with the bits of an uninterrupted one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from core.training.world import gpt2, trained, weights, world
from hypothesis import given, settings
from hypothesis import strategies as st

from prefixcap.captioning.captioner import Captioner
from prefixcap.errors import PrefixcapWarning
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
    return {tuning: with_val(tuning) for tuning in ("frozen", "full", "lora")}


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
    histories = [
        {k: v for k, v in m.history.items() if k not in ("seconds", "memory")} for m in (one, two)
    ]
    return histories[0] == histories[1] and all(
        torch.equal(a, b) for a, b in zip(weights(one), weights(two), strict=True)
    )


@given(
    tuning=st.sampled_from(["frozen", "full", "lora"]),
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


def flipped(place: float) -> Callable[[bytes], bytes]:
    """Flip one bit, at a share of the content."""

    def alter(content: bytes) -> bytes:
        altered = bytearray(content)
        altered[int(place * (len(content) - 1))] ^= 4
        return bytes(altered)

    return alter


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The state of a training that was stopped in its second epoch."""
    return left_by(tmp_path_factory.mktemp("state") / "at")


def left_by(file: Path, **settings: Any) -> bytes:
    def stop(done: int, _total: int, _info: object) -> None:
        if done == 5:
            raise Killed

    with pytest.raises(Killed):
        trained(checkpoint=TrainingCheckpoint(file, every=0, share=1e9), progress=stop, **settings)
    return file.read_bytes()


ALTERED: dict[str, Callable[[bytes], bytes]] = {
    **{f"a bit at {place}": flipped(place) for place in (0.0, 0.0003, 0.01, 0.3, 0.5, 0.9, 1.0)},
    "half of it": lambda content: content[: len(content) // 2],
    "no last byte": lambda content: content[:-1],
    "a byte more": lambda content: content + b"0",
    "nothing": lambda content: b"",
    "another file": lambda content: b"no state",
    "no first line": lambda content: content.partition(b"\n")[2],
    "zeros at the end": lambda content: content[:-4096] + bytes(4096),
    "parts exchanged": lambda content: content[:9999] + content[19999:29999] + content[9999:19999],
}


@pytest.mark.parametrize("alter", ALTERED.values(), ids=ALTERED)
def test_an_altered_state_is_reported_and_not_used(
    state: bytes, tmp_path: Path, alter: Callable[[bytes], bytes]
) -> None:
    (tmp_path / "at").write_bytes(alter(state))
    messages: list[str] = []
    checkpoint = TrainingCheckpoint(tmp_path / "at", report=messages.append)
    steps: list[int] = []
    result = trained(checkpoint=checkpoint, progress=lambda done, *_: steps.append(done))
    assert messages == [
        f"{tmp_path / 'at'} was altered after it was written (its SHA-256 differs): this "
        "training starts from the beginning"
    ]
    assert steps[0] == 1
    assert same(result, trained())


@pytest.mark.parametrize(
    "settings", [{"seed": 1}, {"epochs": 2}, {"learning_rate": 2e-2}, {"tuning": "frozen"}], ids=str
)
def test_the_state_of_another_training_is_reported_and_not_used(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    left_by(tmp_path / "at", **settings)
    with pytest.warns(PrefixcapWarning, match="is the state of another training: this training st"):
        result = trained(checkpoint=TrainingCheckpoint(tmp_path / "at"))
    assert same(result, trained())
    TrainingCheckpoint(tmp_path / "at").remove()
    assert not (tmp_path / "at").exists()


def test_the_intact_state_is_used(state: bytes, tmp_path: Path) -> None:
    (tmp_path / "at").write_bytes(state)
    steps: list[int] = []
    result = trained(
        checkpoint=TrainingCheckpoint(tmp_path / "at", report=pytest.fail),
        progress=lambda done, *_: steps.append(done),
    )
    assert steps[0] == 5
    assert same(result, trained())


def test_the_state_with_other_validation_data_is_ignored(tmp_path: Path) -> None:
    file = tmp_path / "at"
    other = [["a dog runs"] for _ in world()[1]]
    with pytest.raises(Killed):
        with_val("frozen", TrainingCheckpoint(file, every=0, share=1e9), 9)
    assert file.exists()
    with pytest.warns(PrefixcapWarning, match="is the state of another training"):
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
