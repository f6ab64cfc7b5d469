"""Training on features in files, which are not loaded into memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from prefixcap.captioning import feature_rows
from prefixcap.captioning.prefixer import FeatureNorm
from prefixcap.errors import PrefixcapError
from prefixcap.study.artifacts.shard_rows import ShardRows
from prefixcap.study.artifacts.shards import FeatureShard
from prefixcap.study.execution.checks import _duplicates


@pytest.fixture
def pair(tmp_path: Path) -> tuple[ShardRows, torch.Tensor]:
    """The same features (24,3,5) in three files and in memory."""
    features = torch.randn(24, 3, 5, generator=torch.Generator().manual_seed(0)) + 2
    for number, part in enumerate(features.split(8)):
        rows = {f"{number}-{row}": feature for row, feature in enumerate(part)}
        FeatureShard.write(tmp_path / f"{number}.safetensors", rows)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(1)).tolist()
    places = [(tmp_path / f"{n // 8}.safetensors", n % 8) for n in order]
    return ShardRows(places, "made"), features[order]


def test_rows_of_files_are_those_in_memory(
    pair: tuple[ShardRows, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, memory = pair
    monkeypatch.setattr(feature_rows, "CHUNK", 7)  # does not divide the number of images
    assert (rows.shape, rows.ndim, len(rows)) == ((24, 3, 5), 3, 24)
    assert torch.equal(rows[:], memory)
    chosen = torch.tensor([5, 0, 5, 23])
    assert torch.equal(rows[chosen], memory[chosen])
    for normalize in (False, True):
        ours, whole = (FeatureNorm.fit(f, normalize=normalize, rms=0.3) for f in pair)
        assert torch.equal(ours(memory), whole(memory))
        flat = memory.reshape(-1, 5)
        flat = torch.nn.functional.normalize(flat, dim=-1) if normalize else flat
        torch.testing.assert_close(whole.mean, flat.mean(0))
        assert ours.measure(rows) == pytest.approx(whole.measure(memory))
    same = memory[[3, 23]].clone()
    test = torch.cat([same, torch.randn(2, 3, 5)])
    assert _duplicates(rows, test) == _duplicates(memory, test) == [3, 23, None, None]


def test_rows_that_are_not_finite_name_their_file(tmp_path: Path) -> None:
    features = np.ones((2, 4), dtype=np.float32)
    features[1, 2] = np.nan
    file = tmp_path / "a.safetensors"
    FeatureShard.write(file, dict(zip("ab", torch.from_numpy(features), strict=True)))
    rows = ShardRows([(file, 0), (file, 1)], "made")
    assert rows[:1].tolist() == [[1] * 4]
    with pytest.raises(PrefixcapError, match=r"a\.safetensors .*a feature is not finite"):
        rows[torch.tensor([0, 1])]
