"""The encoder `open-clip` against open_clip itself, on a small CLIP in its formats."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from PIL import Image
from prefixcap_vision.configs import OpenCLIP
from small_vision import OPEN_CLIP, open_clip_folder

from prefixcap.errors import PrefixcapError
from prefixcap.testing.case import drawn_images

TEXTS = ["a dog", "two cats on a red mat", "x" * 5_000]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return open_clip_folder(tmp_path_factory.mktemp("open_clip") / "small")


@pytest.fixture
def named(tmp_path: Path) -> Iterator[str]:
    """A model that open_clip knows by its name."""
    from open_clip import factory

    (tmp_path / "small-clip.json").write_text(json.dumps(OPEN_CLIP))
    factory.add_model_config(tmp_path / "small-clip.json")
    yield "small-clip"
    factory._MODEL_CONFIG_PATHS.pop()
    factory._MODEL_CONFIGS.pop("small-clip")


def pictures() -> list[Image.Image]:
    drawn = [item.open() for item in drawn_images() if item.open is not None]
    return [*(picture.convert("RGB") for picture in drawn), Image.new("RGB", (33, 90), "navy")]


def test_features_equal_those_of_open_clip(folder: Path) -> None:
    import open_clip

    model, transform = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    model.eval()
    pixels = torch.stack([transform(picture) for picture in pictures()])
    encoder = OpenCLIP(model=str(folder)).build()
    own = torch.stack([encoder.pixels(picture) for picture in pictures()])  # type: ignore[attr-defined]
    assert torch.equal(own, pixels)
    with torch.no_grad():
        torch.testing.assert_close(encoder.encode(pixels), model.encode_image(pixels))
        texts = encoder.encode_text(TEXTS)
        assert texts is not None
        torch.testing.assert_close(texts, model.encode_text(tokenizer(TEXTS)))
        model.visual.output_tokens = True
        _, patches = model.visual(pixels)
    assert (encoder.tokens, encoder.width) == (None, 24)
    tokens = OpenCLIP(model=str(folder), features="tokens").build()
    assert (tokens.tokens, tokens.width) == (4, 32)
    torch.testing.assert_close(tokens.encode(pixels), patches)


def test_a_named_model_takes_a_file(folder: Path, named: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    state = load_file(folder / "open_clip_model.safetensors")
    # as open_clip's training saves it from several GPUs
    trained = {"epoch": 3, "state_dict": {f"module.{name}": t for name, t in state.items()}}
    torch.save(trained, tmp_path / "epoch_3.pt")
    encoder = OpenCLIP(model=named, pretrained=str(tmp_path / "epoch_3.pt")).build()
    other = OpenCLIP(model=str(folder)).build()
    pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(encoder.encode(pixels), other.encode(pixels))
    # the folder's own mean and standard deviation, and so other features of images
    assert encoder.digest() != other.digest()
    del trained["state_dict"]["module.visual.proj"]  # type: ignore[attr-defined]
    torch.save(trained, tmp_path / "epoch_3.pt")
    with pytest.raises(PrefixcapError, match=r"cannot be loaded: .*visual\.proj"):
        OpenCLIP(model=named, pretrained=str(tmp_path / "epoch_3.pt")).build()


def test_images_are_preprocessed_in_threads(folder: Path) -> None:
    encoder = OpenCLIP(model=str(folder)).build()
    many = pictures() * 8
    alone = [encoder.pixels(picture) for picture in many]  # type: ignore[attr-defined]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(encoder.pixels, many))  # type: ignore[attr-defined]
    assert all(map(torch.equal, alone, together))


def test_weights_of_another_activation(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenAI's models have QuickGELU, of which open_clip's ViT-B-32 does not know."""
    import open_clip

    calls: list[dict[str, object]] = []

    def create_model(*_: object, **settings: object) -> None:
        calls.append(settings)
        raise OSError("seen enough")

    monkeypatch.setattr(open_clip, "create_model", create_model)
    for tag in ("openai", "laion2b_s34b_b79k"):
        with pytest.raises(PrefixcapError, match="seen enough"):
            OpenCLIP(pretrained=tag).build()
    assert [call["force_quick_gelu"] for call in calls] == [True, False]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"model": "ViT-B-33"}, r"model='ViT-B-33' is unknown; did you mean 'ViT-B-32'\?"),
        ({}, r"several sets of weights: choose one by 'pretrained'.* known: "),
        ({"pretrained": "laion2b_e15"}, r"neither a file nor .* did you mean 'laion2b_e16'\?"),
        ({"model": "{folder}", "pretrained": "openai"}, "has its own weights"),
        ({"model": "{folder}/nothing"}, "is unknown"),
        ({"model": "{empty}"}, r"config file missing: .*open_clip_config\.json"),
        (
            {"pretrained": "laion2b_s34b_b79k"},
            r"without a network, fetch laion/CLIP-ViT-B-32-laion2B-s34B-b79K on another machine",
        ),
        ({"model": "hf-hub:some/clip"}, r"without a network, fetch some/clip on .* its folder"),
    ],
)
def test_models_that_cannot_be_loaded(
    settings: dict[str, str],
    sentence: str,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    places = {"folder": folder, "empty": tmp_path}
    config = OpenCLIP(**{key: value.format(**places) for key, value in settings.items()})
    with pytest.raises(PrefixcapError, match=sentence) as caught:
        config.build()
    assert str(caught.value).startswith("encoder 'open-clip': ")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
