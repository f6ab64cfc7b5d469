"""The encoder `timm` against timm itself, on its small test models."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from PIL import Image
from prefixcap_vision.configs import OpenCLIP, Timm
from small_vision import timm_file

from prefixcap.errors import PrefixcapError
from prefixcap.testing.case import drawn_images


def pictures() -> list[Image.Image]:
    drawn = [item.open() for item in drawn_images() if item.open is not None]
    return [*(picture.convert("RGB") for picture in drawn), Image.new("RGB", (33, 90), "navy")]


@pytest.mark.parametrize(
    ("name", "tokens"), [("test_vit", (101, 64)), ("test_efficientnet.r160_in1k", (25, 256))]
)
def test_features_equal_those_of_timm(name: str, tokens: tuple[int, int], tmp_path: Path) -> None:
    import timm
    from timm.data import create_transform, resolve_model_data_config

    file = timm_file(tmp_path / "weights.pth", name)
    model = timm.create_model(name, pretrained=False)
    model.load_state_dict(torch.load(file, weights_only=True))
    model.eval()
    transform = create_transform(**resolve_model_data_config(model))
    pixels = torch.stack([transform(picture) for picture in pictures()])
    encoder = Timm(model=name, weights=str(file)).build()
    own = torch.stack([encoder.pixels(picture) for picture in pictures()])  # type: ignore[attr-defined]
    assert torch.equal(own, pixels)
    with torch.no_grad():
        map_or_tokens = model.forward_features(pixels)
        pooled = model.forward_head(map_or_tokens, pre_logits=True)
        torch.testing.assert_close(encoder.encode(pixels), pooled)
    assert encoder.tokens is None
    assert encoder.width == pooled.shape[1]
    assert encoder.encode_text(["a dog"]) is None
    each = Timm(model=name, weights=str(file), features="tokens").build()
    assert (each.tokens, each.width) == tokens
    features = each.encode(pixels)
    fourth = map_or_tokens[:, 3] if name == "test_vit" else map_or_tokens[:, :, 0, 3]
    torch.testing.assert_close(features[:, 3], fourth)
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(encoder.pixels, pictures() * 4))  # type: ignore[attr-defined]
    assert torch.equal(torch.stack(together[-len(pixels) :]), pixels)


def test_weights_of_other_names_and_classes(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    file = timm_file(tmp_path / "weights.pth")
    encoder = Timm(model="test_vit", weights=str(file)).build()
    state = torch.load(file, weights_only=True)
    # fine-tuned on seven classes, and without a classifier
    for classes in (7, 0):
        head = {"head.weight": torch.ones(classes, 64), "head.bias": torch.ones(classes)}
        rest = {name: tensor for name, tensor in state.items() if not name.startswith("head.")}
        save_file(rest | (head if classes else {}), tmp_path / "tuned.safetensors")
        tuned = Timm(model="test_vit", weights=str(tmp_path / "tuned.safetensors")).build()
        assert tuned.digest() == encoder.digest()
    renamed = {f"_{number}": tensor for number, tensor in enumerate(state.values())}
    torch.save({"state_dict": renamed}, file)
    with pytest.raises(PrefixcapError, match=r"Missing key.*remap=true"):
        Timm(model="test_vit", weights=str(file)).build()
    assert Timm(model="test_vit", weights=str(file), remap=True).build().digest() == (
        encoder.digest()
    )
    torch.save(dict(reversed(renamed.items())), file)
    with pytest.raises(PrefixcapError, match=r"has shape .* cannot be taken in their order"):
        Timm(model="test_vit", weights=str(file), remap=True).build()
    torch.save({"a": torch.ones(1)}, file)
    with pytest.raises(PrefixcapError, match="has 1 tensors and the model"):
        Timm(model="test_vit", weights=str(file), remap=True).build()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"model": "test_vot"}, r"model='test_vot' is unknown; did you mean 'test_vit'\?"),
        ({"model": "test_vit.r161_in1k"}, r"did you mean 'test_vit\.r160_in1k'\?"),
        ({"model": "test_vit", "remap": True}, "remap=true is for a file"),
        ({"model": "test_vit", "weights": "nothing.pth"}, r"nothing\.pth does not exist"),
        ({"model": "test_vit"}, r"without a network, fetch the weights of timm/test_vit.r160_in1k"),
        ({"model": "hf-hub:some/vit"}, "without a network, fetch the weights of some/vit on"),
    ],
)
def test_models_that_cannot_be_loaded(
    settings: dict[str, object],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(PrefixcapError, match=sentence) as caught:
        Timm(**settings).build()  # type: ignore[arg-type]
    assert str(caught.value).startswith("encoder 'timm': ")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_an_extra_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(PrefixcapError, match=r"needs timm: pip install 'prefixcap\[timm\]'"):
        Timm().build()
    with pytest.raises(PrefixcapError, match=r"pip install 'prefixcap\[open-clip\]'"):
        OpenCLIP().build()
