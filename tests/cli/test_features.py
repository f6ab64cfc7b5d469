"""`prefixcap features`: stores of features."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image
from small_clip import small_clip

from prefixcap.captioning import feature_store
from prefixcap.captioning.encode_images import encode
from prefixcap.captioning.feature_store import FeatureStore
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.encoder import EncoderConfig
from prefixcap.plugin.registry import default_registry

Shell = Callable[..., tuple[int, str, str]]


@pytest.fixture
def photos(tmp_path: Path) -> tuple[Path, str]:
    """A folder of ten images, one of them broken, and the spec of a small CLIP."""
    torch.save(small_clip().state_dict(), tmp_path / "clip.pt")
    noise = np.random.default_rng(0)
    (tmp_path / "photos" / "more").mkdir(parents=True)
    for number in range(9):
        pixels = noise.integers(0, 255, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
    (tmp_path / "photos" / "more" / "broken.png").write_bytes(b"no image")
    return tmp_path / "photos", f"clip:model={tmp_path / 'clip.pt'}"


def test_a_store_is_made_shown_and_read(
    shell: Shell, photos: tuple[Path, str], tmp_path: Path
) -> None:
    folder, encoder = photos
    words = ["features", folder, "--encoder", encoder, "--encode-batch", 4, "--out"]
    status, _, errors = shell(*words, tmp_path / "failed")
    assert status == 2
    assert "broken.png: the image cannot be read" in errors
    assert "--skip-unreadable encodes the others" in errors
    store, half = tmp_path / "store", tmp_path / "half"
    status, out, errors = shell(*words, store, "--skip-unreadable", "--json")
    assert status == 0
    assert "images/s" in errors
    shown = json.loads(out)
    assert (shown["shape"], shown["dtype"]) == ([9, 32], "float32")
    assert [*shown["unreadable"]] == ["more/broken.png"]
    rows = np.load(store / "features.npy", mmap_mode="r")
    expected = encode(encoder, [folder / f"{n}.png" for n in range(9)]).numpy()
    np.testing.assert_allclose(rows, expected, atol=1e-5)
    assert (store / "ids.txt").read_text().split() == [f"{n}.png" for n in range(9)]
    statistics = shown["statistics"]
    np.testing.assert_allclose(statistics["mean"], rows.mean(0), atol=1e-6)
    norms = np.linalg.norm(rows, axis=1)
    assert statistics["norm"] == pytest.approx(norms.mean())
    assert statistics["norm_std"] == pytest.approx(norms.std(), rel=1e-4)
    assert statistics["rms"] == pytest.approx(np.sqrt(np.square(rows).mean()))
    assert shell(*words, half, "--skip-unreadable", "--dtype", "float16")[0] == 0
    assert np.array_equal(np.load(half / "features.npy"), rows.astype(np.float16))
    status, out, _ = shell("features", half, "--verify")
    assert status == 0
    assert "9 images, float16 (32,)" in out
    assert "unreadable images: 1" in out
    read = default_registry().parse(EncoderConfig, f"precomputed:path={store}")
    assert not read.depends_on_index
    assert read.build().digest() == FeatureStore.open(store).digest()
    assert encode(read, [folder / "7.png"]).numpy()[0] == pytest.approx(rows[7])
    with pytest.raises(PrefixcapError, match=r"could not be read when the store was made"):
        FeatureStore.open(store).row("more/broken.png")
    status, _, errors = shell(*words, store)  # float32 again
    assert status == 0
    status, _, errors = shell(*words, store, "--dtype", "float16")
    assert status == 2
    assert "other images, or of another encoder or dtype: choose another --out" in errors
    content = bytearray((store / "features.npy").read_bytes())
    content[-1] ^= 1
    (store / "features.npy").write_bytes(content)
    status, _, errors = shell("features", store, "--verify")
    assert status == 2
    assert "features.npy was altered after it was written" in errors


def test_a_killed_process_is_followed_by_another(
    shell: Shell, photos: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, encoder = photos
    words = ["features", folder, "--encoder", encoder, "--skip-unreadable", "--encode-batch", 4]
    assert shell(*words, "--out", tmp_path / "whole")[0] == 0
    add = feature_store._Writer.add
    calls: list[int] = []

    def killed(self: object, file: object, *rest: object) -> None:
        calls.append(1)
        if len(calls) == 2:
            file.write(b"half a row")  # type: ignore[attr-defined]
            raise KeyboardInterrupt
        add(self, file, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(feature_store._Writer, "add", killed)
        assert shell(*words, "--out", tmp_path / "killed")[0] != 0
    status, _, errors = shell("features", tmp_path / "killed")
    assert status == 2
    with FileLock(tmp_path / "killed" / feature_store.LOCK):  # as another process
        status, _, errors = shell(*words, "--out", tmp_path / "killed")
    assert (status, "another process is writing" in errors) == (2, True)
    status, _, errors = shell(*words, "--out", tmp_path / "killed")
    assert status == 0, errors
    for name in ("features.npy", "ids.txt", "store.json"):
        whole, resumed = ((tmp_path / run / name).read_bytes() for run in ("whole", "killed"))
        assert whole == resumed
