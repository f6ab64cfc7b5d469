"""OpenAI's CLIP as an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from prefixcap.errors import PrefixcapError, nearest
from prefixcap.interfaces.dataset import ImageItem
from prefixcap.interfaces.encoder import Encoder
from prefixcap.util.images import read_image
from prefixcap.util.runtime import device_named


class CLIPEncoder(Encoder):
    """A CLIP loaded by clip-anytorch.

    Args:
        model: The model, in float32.
        transform: Its preprocessing of a PIL image into pixels (3,H,W).
    """

    def __init__(self, model: Any, transform: Any) -> None:
        self._model = model
        self._transform = transform
        self._device = next(model.parameters()).device

    @property
    @override
    def width(self) -> int:
        return int(self._model.text_projection.shape[1])

    @property
    @override
    def tokens(self) -> None:
        return None

    @override
    def preprocess(self, image: ImageItem) -> Tensor:
        if image.open is None:
            raise PrefixcapError(
                f"{image.id}: the encoder 'clip' needs the image, and the data set has none: "
                "use the encoder 'precomputed'"
            )
        pixels: Tensor = self._transform(read_image(image.open, str(image.path or image.id)))
        return pixels

    @override
    def encode(self, inputs: Tensor) -> Tensor:
        with torch.inference_mode():
            features: Tensor = self._model.encode_image(inputs.to(self._device))
        return features.float()

    @override
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        import clip

        tokens = clip.tokenize(list(texts), truncate=True).to(self._device)
        with torch.inference_mode():
            features: Tensor = self._model.encode_text(tokens)
        return features.float()

    @override
    def digest(self) -> str:
        return self._digest

    @cached_property
    def _digest(self) -> str:
        digest = sha256()
        for name, tensor in sorted(self._model.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]


def load(model: str, download_root: str, device: str) -> CLIPEncoder:
    """Load a model, downloading it if it is one of OpenAI's; see `CLIP` for the arguments.

    Raises:
        PrefixcapError: If there is no such model, or it cannot be downloaded or read.
    """
    import clip

    path = Path(model).expanduser()
    is_named = model in clip.available_models()
    if not is_named and not path.is_file():
        problem = "is a folder" if path.is_dir() else "is neither a file nor one of OpenAI's models"
        raise PrefixcapError(
            f"encoder 'clip': model={model!r} {problem}{nearest(model, clip.available_models())}"
        )
    root = Path(download_root or "~/.cache/clip").expanduser()
    try:
        module, transform = clip.load(
            model if is_named else str(path),
            device=device_named(device),
            jit=False,
            download_root=str(root),
        )
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        if not is_named:
            raise PrefixcapError(
                f"encoder 'clip': {path} is not a checkpoint in OpenAI's format: {reason}"
            ) from error
        url = clip.clip._MODELS[model]
        raise PrefixcapError(
            f"encoder 'clip': {model} could not be downloaded ({reason}); get {url} on a "
            f"machine with a network and put it at {root / url.rsplit('/', 1)[-1]}"
        ) from error
    return CLIPEncoder(module.float().eval().requires_grad_(False), transform)
