"""OpenAI's CLIP as an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from prefixcap.errors import PrefixcapError, nearest
from prefixcap.interfaces.dataset import ImageItem
from prefixcap.interfaces.encoder import Encoder
from prefixcap.util.runtime import device_named
from prefixcap_clip.configs import CLIP


class CLIPEncoder(Encoder):
    """A CLIP that clip-anytorch loaded.

    Args:
        model: the model, in float32.
        transform: clip's preprocessing of a PIL image into pixels (3,H,W).
    """

    def __init__(self, model: Any, transform: Any) -> None:
        self._model = model
        self._transform = transform
        self._device = next(model.parameters()).device

    @property
    def width(self) -> int:
        """D, the width of CLIP's joint space."""
        return int(self._model.text_projection.shape[1])

    @property
    def tokens(self) -> None:
        """A feature is one vector."""
        return None

    def preprocess(self, image: ImageItem) -> Tensor:
        """Opens an image and resizes, crops and normalises it into pixels (3,H,W)."""
        if image.open is None:
            raise PrefixcapError(
                f"{image.id}: the encoder 'clip' needs the image, and the data set has none: "
                "use the encoder 'precomputed'"
            )
        with image.open() as picture:
            pixels: Tensor = self._transform(picture.convert("RGB"))
        return pixels

    def encode(self, inputs: Tensor) -> Tensor:
        """Encodes pixels (B,3,H,W) into features (B,D), float32."""
        with torch.inference_mode():
            features: Tensor = self._model.encode_image(inputs.to(self._device))
        return features.float()

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Encodes texts into CLIP's joint space (B,D), float32."""
        import clip

        tokens = clip.tokenize(list(texts), truncate=True).to(self._device)
        with torch.inference_mode():
            features: Tensor = self._model.encode_text(tokens)
        return features.float()

    def digest(self) -> str:
        """Returns a hash of the weights."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        found = sha256()
        for name, tensor in sorted(self._model.state_dict().items()):
            found.update(name.encode())
            found.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
        return found.hexdigest()[:16]


def load(config: CLIP, device: str) -> CLIPEncoder:
    """Loads the model that a config names; see `CLIP.build`."""
    import clip

    device = device_named(device)
    path = Path(config.model).expanduser()
    if config.model not in clip.available_models() and not path.is_file():
        what = "is a folder" if path.is_dir() else "is neither a file nor one of OpenAI's models"
        raise PrefixcapError(
            f"encoder 'clip': model={config.model!r} {what}"
            f"{nearest(config.model, clip.available_models())}"
        )
    named = config.model in clip.available_models()
    root = Path(config.download_root or "~/.cache/clip").expanduser()
    try:
        model, transform = clip.load(
            config.model if named else str(path),
            device=device,
            jit=False,
            download_root=str(root),
        )
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        if not named:
            raise PrefixcapError(
                f"encoder 'clip': {path} is not a checkpoint in OpenAI's format: {reason}"
            ) from error
        url = clip.clip._MODELS[config.model]
        raise PrefixcapError(
            f"encoder 'clip': {config.model} could not be downloaded ({reason}); get {url} on a "
            f"machine with a network and put it at {root / url.rsplit('/', 1)[-1]}"
        ) from error
    return CLIPEncoder(model.float().eval().requires_grad_(False), transform)
