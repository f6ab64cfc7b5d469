"""OpenAI's CLIP as an encoder."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from prefixcap.captioning.module_encoder import ModuleEncoder
from prefixcap.errors import PrefixcapError, nearest
from prefixcap.util.runtime import device_named
from prefixcap.util.text import beginning
from prefixcap.util.weights import is_torchscript, load_state_dict

if TYPE_CHECKING:
    from PIL import Image

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of the channels in CLIP's training."""


class CLIPEncoder(ModuleEncoder):
    """A CLIP loaded by clip-anytorch.

    Args:
        model: The model.
    """

    def __init__(self, model: Any) -> None:
        super().__init__("clip", model)
        self._model = model

    @property
    @override
    def width(self) -> int:
        return int(self._model.text_projection.shape[1])

    @property
    @override
    def tokens(self) -> None:
        return None

    @override
    def pixels(self, picture: Image.Image) -> Tensor:
        return pixels(picture, self._model.visual.input_resolution)

    @override
    def features(self, pixels: Tensor) -> Tensor:
        features: Tensor = self._model.encode_image(pixels)
        return features

    @override
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        import clip

        tokens = clip.tokenize([beginning(text) for text in texts], truncate=True)
        with torch.inference_mode():
            features: Tensor = self._model.encode_text(tokens.to(self.device))
        return features.float()


def load(model: str, download_root: str, device: str) -> CLIPEncoder:
    """Load a model, downloading it if it is one of OpenAI's; see `CLIP` for the arguments.

    Raises:
        PrefixcapError: If there is no such model, it cannot be downloaded or read, or its file is
            code that neither OpenAI published nor the user trusts.
    """
    path = Path(model).expanduser()
    published: dict[str, str] = {}
    if not (path.suffix and path.is_file()) or is_torchscript(path):
        import clip

        # OpenAI's files are TorchScript archives; each one's URL holds the SHA-256 of its content
        published = {name: url.split("/")[-2] for name, url in clip.clip._MODELS.items()}
    if model in published:
        path, accepted = _download(model, download_root), [published[model]]
    elif path.is_file():
        accepted = list(published.values())
    else:
        problem = "is a folder" if path.is_dir() else "is neither a file nor one of OpenAI's models"
        hint = "" if path.is_absolute() else nearest(model, published)
        raise PrefixcapError(f"encoder 'clip': model={model!r} {problem}{hint}")
    try:
        state = load_state_dict(path, accepted)
    except PrefixcapError as error:
        raise PrefixcapError(f"encoder 'clip': {error}") from error
    try:
        module = _clip_model().build_model(state).to(device_named(device))
    except PrefixcapError:
        raise
    except Exception as error:  # shapes that fit no CLIP can fail anywhere
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        missing = f"it lacks {reason}" if isinstance(error, KeyError) else reason
        raise PrefixcapError(
            f"encoder 'clip': {path} is not a checkpoint in OpenAI's format: {missing}"
        ) from error
    return CLIPEncoder(module)


def pixels(picture: Image.Image, side: int) -> Tensor:
    """Return an RGB picture as pixels (3,H,W), H=W=`side`, preprocessed as by CLIP's own code.

    The shorter side is resized to `side`, and the center is cropped (Radford et al. 2021,
    arXiv:2103.00020). torchvision's transforms do the same, but take long to import.
    """
    from PIL import Image

    width, height = picture.size
    longer = int(side * max(picture.size) / min(picture.size))
    width, height = (side, longer) if width <= height else (longer, side)
    resized = picture.resize((width, height), Image.Resampling.BICUBIC)
    left, top = round((width - side) / 2), round((height - side) / 2)
    cropped = np.asarray(resized.crop((left, top, left + side, top + side)))
    # by numpy: several threads do this, and torch would start others for each of them
    values = cropped.transpose(2, 0, 1).astype(np.float32, order="C")
    values /= np.float32(255)
    values -= np.array(MEAN, np.float32).reshape(3, 1, 1)
    values /= np.array(STD, np.float32).reshape(3, 1, 1)
    return torch.from_numpy(values)


@cache
def _clip_model() -> ModuleType:
    """Import clip-anytorch's module of models without its package.

    The package imports torchvision and pkg_resources, and reads its vocabulary.
    """
    package = find_spec("clip")
    assert package is not None
    assert package.submodule_search_locations is not None
    file = Path(package.submodule_search_locations[0]) / "model.py"
    spec = spec_from_file_location("prefixcap_clip.clip_model", file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    module.QuickGELU.forward = _quick_gelu
    return module


def _quick_gelu(_: torch.nn.Module, x: Tensor) -> Tensor:
    """Compute x * sigmoid(1.702 x) with one new tensor instead of three."""
    return torch.mul(x, 1.702).sigmoid_().mul_(x)


def _download(model: str, download_root: str) -> Path:
    """Return the file of one of OpenAI's models, downloaded if it is missing or damaged."""
    import clip

    root, url = Path(download_root or "~/.cache/clip").expanduser(), clip.clip._MODELS[model]
    try:
        return Path(clip.clip._download(url, str(root)))
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise PrefixcapError(
            f"encoder 'clip': {model} could not be downloaded ({reason}); get {url} on a "
            f"machine with a network and put it at {root / url.rsplit('/', 1)[-1]}"
        ) from error
