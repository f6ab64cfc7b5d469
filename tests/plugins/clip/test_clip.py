"""The CLIP encoder through clip-anytorch's own loader, on a small checkpoint."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from prefixcap_clip.clip_encoder import pixels
from prefixcap_clip.configs import CLIP
from small_clip import small_clip

from prefixcap.captioning.encode_images import encode
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.dataset import ImageItem
from prefixcap.interfaces.encoder import Encoder, EncoderConfig
from prefixcap.plugin.registry import default_registry
from prefixcap.util.text import beginning


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "small.pt"
    torch.save(small_clip().state_dict(), path)
    return path


@pytest.fixture(scope="module")
def encoder(checkpoint: Path) -> Encoder:
    return default_registry().parse(EncoderConfig, f"clip:model={checkpoint}").build()


def images(folder: Path, count: int = 3) -> list[ImageItem]:
    pixels = np.random.default_rng(0).integers(0, 255, (count, 40, 50, 3), dtype=np.uint8)
    result = []
    for number, array in enumerate(pixels):
        path = folder / f"{number}.png"
        Image.fromarray(array).save(path)
        result.append(
            ImageItem(id=path.name, index=number, path=path, open=lambda p=path: Image.open(p))
        )
    return result


def test_features_do_not_depend_on_the_batch(encoder: Encoder, tmp_path: Path) -> None:
    items = images(tmp_path)
    together, alone = encode(encoder, items), encode(encoder, items, batch_size=1)
    assert together.shape == (3, encoder.width) == (3, 32)
    assert together.dtype == torch.float32
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(together[0], together[1])
    assert encoder.tokens is None


def test_features_equal_those_of_clip(checkpoint: Path, encoder: Encoder, tmp_path: Path) -> None:
    import clip

    model, transform = clip.load(str(checkpoint), device="cpu", jit=False)
    items = images(tmp_path)
    pixels = torch.stack([transform(Image.open(item.path)) for item in items])
    with torch.no_grad():
        torch.testing.assert_close(encode(encoder, items), model.encode_image(pixels).float())
        tokens = clip.tokenize(["a dog", "two cats"])
        result = encoder.encode_text(["a dog", "two cats"])
        torch.testing.assert_close(result, model.encode_text(tokens).float())


@pytest.mark.parametrize("size", [(32, 32), (40, 50), (51, 33), (300, 7), (7, 20), (1000, 999)])
def test_preprocessing_equals_that_of_clip(size: tuple[int, int]) -> None:
    from clip.clip import _transform

    noise = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    for side in (32, 57):
        assert torch.equal(pixels(picture, side), _transform(side)(picture))


def test_long_texts_are_truncated(encoder: Encoder) -> None:
    result = encoder.encode_text(["dog " * 200])
    assert result is not None
    assert result.shape == (1, 32)


def test_the_digest_depends_on_the_weights(
    checkpoint: Path, encoder: Encoder, tmp_path: Path
) -> None:
    assert CLIP(model=str(checkpoint)).build().digest() == encoder.digest()
    state = torch.load(checkpoint, weights_only=True)
    state["visual.proj"] = state["visual.proj"] + 1
    torch.save(state, tmp_path / "other.pt")
    assert CLIP(model=str(tmp_path / "other.pt")).build().digest() != encoder.digest()


def test_models_that_do_not_exist(tmp_path: Path) -> None:
    with pytest.raises(PrefixcapError, match=r"neither a file nor .* did you mean 'ViT-B/32'"):
        CLIP(model="ViT-B32").build()
    with pytest.raises(PrefixcapError, match="is a folder"):
        CLIP(model=str(tmp_path)).build()
    broken = tmp_path / "broken.pt"
    broken.write_bytes(b"nothing")
    with pytest.raises(PrefixcapError, match=r"broken\.pt: not read as weights only"):
        CLIP(model=str(broken)).build()
    torch.save({"other": torch.ones(2)}, broken)
    with pytest.raises(PrefixcapError, match=r"is not a checkpoint in OpenAI's format: it lacks '"):
        CLIP(model=str(broken)).build()


def test_a_model_that_cannot_be_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import clip

    # a port nobody listens on stands for a machine without a network
    url = "http://127.0.0.1:9/ViT-B-32.pt"
    monkeypatch.setitem(clip.clip._MODELS, "ViT-B/32", url)
    with pytest.raises(PrefixcapError, match=r"could not be downloaded .* put it at") as caught:
        CLIP(download_root=str(tmp_path)).build()
    assert str(tmp_path / "ViT-B-32.pt") in str(caught.value)


def test_a_data_set_without_images(encoder: Encoder) -> None:
    with pytest.raises(PrefixcapError, match="x: the encoder 'clip' needs the image"):
        encode(encoder, [ImageItem(id="x", index=0)])


def test_an_unreadable_image_is_named(encoder: Encoder, tmp_path: Path) -> None:
    path = tmp_path / "half.png"
    whole = images(tmp_path, 1)[0].path
    assert whole is not None
    path.write_bytes(whole.read_bytes()[:500])
    item = ImageItem(id="half", index=0, path=path, open=lambda: Image.open(path))
    with pytest.raises(PrefixcapError, match=r"half\.png: the image cannot be read"):
        encode(encoder, [item])


def test_long_texts_have_the_same_tokens_in_bounded_time() -> None:
    import clip

    for text in ("a red dog's ball, " * 500, "x" * 3_000, "a\n\t b " * 2_000, "short text"):
        short = clip.tokenize([beginning(text)], truncate=True)
        assert torch.equal(short, clip.tokenize([text], truncate=True))
    start = time.process_time()
    clip.tokenize([beginning("".join(map(chr, range(97, 123))) * 40_000)], truncate=True)
    assert time.process_time() - start < 20
