"""The encoder `hf-vision` against transformers itself, on small models of each kind."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from conformance_cases import hf
from PIL import Image
from prefixcap_hf.configs import HF
from prefixcap_hf.vision_config import HFVision
from small_vision import hf_folder
from torch import Tensor

from prefixcap.errors import PrefixcapError, PrefixcapWarning
from prefixcap.testing.case import drawn_images

TEXTS = ["a dog", "two cats on a red mat, which is longer than twenty tokens"]


def pictures() -> list[Image.Image]:
    drawn = [item.open() for item in drawn_images() if item.open is not None]
    return [*(picture.convert("RGB") for picture in drawn), Image.new("RGB", (33, 90), "navy")]


KINDS: dict[str, tuple[str, Callable[[Any, Tensor], Tensor], Callable[[Any, Tensor], Tensor]]] = {
    "clip": (
        "CLIPModel",
        lambda model, pixels: model.visual_projection(model.vision_model(pixels).pooler_output),
        lambda model, pixels: model.vision_model(pixels).last_hidden_state,
    ),
    "clip-vision": (
        "CLIPVisionModelWithProjection",
        lambda model, pixels: model(pixels).image_embeds,
        lambda model, pixels: model(pixels).last_hidden_state,
    ),
    "siglip": (
        "SiglipModel",
        lambda model, pixels: model.vision_model(pixels).pooler_output,
        lambda model, pixels: model.vision_model(pixels).last_hidden_state,
    ),
    "dinov2": (
        "Dinov2Model",
        lambda model, pixels: model(pixels).pooler_output,
        lambda model, pixels: model(pixels).last_hidden_state,
    ),
    # trained with a classifier, so its pooler would be random: the class token
    "vit": (
        "ViTForImageClassification",
        lambda model, pixels: model.vit(pixels).last_hidden_state[:, 0],
        lambda model, pixels: model.vit(pixels).last_hidden_state,
    ),
    "resnet": (
        "ResNetModel",
        lambda model, pixels: model(pixels).last_hidden_state.mean((2, 3)),
        lambda model, pixels: model(pixels).last_hidden_state.flatten(2).transpose(1, 2),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_features_equal_those_of_transformers(kind: str, tmp_path: Path) -> None:
    hf_folder(tmp_path, kind)
    name, pooled, tokens = KINDS[kind]
    model = getattr(transformers, name).from_pretrained(tmp_path).eval()
    processor: Any = transformers.AutoImageProcessor
    processed = processor.from_pretrained(tmp_path, backend="pil")(pictures(), return_tensors="pt")
    pixels = processed["pixel_values"]
    encoder = HFVision(model=str(tmp_path)).build()
    with ThreadPoolExecutor(4) as pool:
        own = list(pool.map(encoder.pixels, pictures()))  # type: ignore[attr-defined]
    assert torch.equal(torch.stack(own), pixels)
    each = HFVision(model=str(tmp_path), features="tokens").build()
    with torch.no_grad():
        torch.testing.assert_close(encoder.encode(pixels), pooled(model, pixels))
        torch.testing.assert_close(each.encode(pixels), tokens(model, pixels))
        assert each.tokens == tokens(model, pixels).shape[1]
    assert encoder.tokens is None


@pytest.mark.parametrize("kind", ["clip", "siglip", "dinov2"])
def test_texts_equal_those_of_transformers(kind: str, tmp_path: Path) -> None:
    hf_folder(tmp_path, kind)
    encoder = HFVision(model=str(tmp_path)).build()
    found = encoder.encode_text(TEXTS)
    if kind == "dinov2":
        assert found is None
        return
    model = transformers.AutoModel.from_pretrained(tmp_path).eval()
    settings = {"padding": "max_length", "truncation": True, "max_length": 20}
    tokenizer: Any = transformers.AutoTokenizer
    inputs = tokenizer.from_pretrained(tmp_path)(TEXTS, return_tensors="pt", **settings)
    with torch.no_grad():
        output = model.text_model(**inputs).pooler_output
        expected = model.text_projection(output) if kind == "clip" else output
    assert found is not None
    torch.testing.assert_close(found, expected)


def test_the_preprocessing_is_part_of_the_digest(tmp_path: Path) -> None:
    hf_folder(tmp_path, "vit")
    before = HFVision(model=str(tmp_path)).build().digest()
    settings = json.loads((tmp_path / "preprocessor_config.json").read_text())
    settings["image_mean"] = [0.1, 0.2, 0.3]
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    assert HFVision(model=str(tmp_path)).build().digest() != before


def test_models_that_cannot_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.torch import load_file, save_file

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    place = "encoder 'hf-vision': "
    with pytest.raises(PrefixcapError, match=rf"{place}.*some/vit.* give a folder instead"):
        HFVision(model="some/vit").build()
    with pytest.raises(PrefixcapError, match=rf"{place}model='\./none' does not exist"):
        HFVision(model="./none").build()
    hf(HF, tmp_path / "gpt2")
    with pytest.raises(PrefixcapError, match="GPT2Model, which takes input_ids and no images"):
        HFVision(model=str(tmp_path / "gpt2")).build()
    folder = hf_folder(tmp_path / "vit", "vit")
    state = load_file(folder / "model.safetensors")
    lost = state.pop("vit.embeddings.cls_token")
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(PrefixcapError, match=r"incomplete: they lack embeddings\.cls_token"):
        HFVision(model=str(folder)).build()
    state["vit.embeddings.cls_token"] = lost[:, :, :3].contiguous()
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(PrefixcapError, match=f"{place}the folder"):
        HFVision(model=str(folder)).build()


def test_code_of_a_model_is_not_run(tmp_path: Path) -> None:
    marker, folder = tmp_path / "marker", hf_folder(tmp_path / "vit", "vit")
    (folder / "own.py").write_text(f"open({str(marker)!r}, 'w')")
    settings = json.loads((folder / "config.json").read_text())
    settings["auto_map"] = {"AutoConfig": "own.Config", "AutoModel": "own.Model"}
    (folder / "config.json").write_text(json.dumps(settings))
    with pytest.warns(PrefixcapWarning, match=r"encoder 'hf-vision': .* \(own\.Config, own\.Mod"):
        HFVision(model=str(folder)).build()
    settings["model_type"] = "own"
    (folder / "config.json").write_text(json.dumps(settings))
    with pytest.raises(PrefixcapError, match="needs Python code of its own"):
        HFVision(model=str(folder)).build()
    assert not marker.exists()
