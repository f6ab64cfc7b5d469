"""A model of open_clip as an encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from typing_extensions import override

from prefixcap.captioning.module_encoder import ModuleEncoder, flattened
from prefixcap.errors import PrefixcapError, nearest
from prefixcap.util.runtime import device_named
from prefixcap.util.text import beginning
from prefixcap.util.text_files import expanded
from prefixcap_vision.loading import HUB, check_known, in_folder, loading, require, weights_file

if TYPE_CHECKING:
    from PIL import Image


class OpenCLIPEncoder(ModuleEncoder):
    """Both towers of a model, with the preprocessing of its weights.

    Args:
        model: The model.
        features: "pooled" or "tokens".
        tokenizer: Makes the tokenizer of its texts; called when the first are encoded.
    """

    def __init__(self, model: Any, features: str, tokenizer: Callable[[], Any]) -> None:
        from open_clip.transform import PreprocessCfg, image_transform_v2

        settings = PreprocessCfg(**model.visual.preprocess_cfg)
        super().__init__("open-clip", model, settings=repr(settings))
        self._transform: Any = image_transform_v2(settings, is_train=False)
        self._pooled = features == "pooled"
        self._make_tokenizer = tokenizer

    @override
    def pixels(self, picture: Image.Image) -> Tensor:
        pixels: Tensor = self._transform(picture)
        return pixels

    @override
    def features(self, pixels: Tensor) -> Tensor:
        model: Any = self.module
        if self._pooled:
            pooled: Tensor = model.encode_image(pixels)
            return pooled
        output = model.forward_intermediates(
            image=pixels, image_indices=1, normalize_intermediates=True, intermediates_only=True
        )
        return flattened(output["image_intermediates"][-1])

    @override
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        model: Any = self.module
        tokens = self._tokenizer([beginning(text) for text in texts]).to(self.device)
        with torch.inference_mode():
            features: Tensor = model.encode_text(tokens)
        return features.float()

    @cached_property
    def _tokenizer(self) -> Any:
        return self._make_tokenizer()


def load(
    *, model: str, pretrained: str, features: str, cache_dir: str, device: str
) -> OpenCLIPEncoder:
    """Load a model; see `OpenCLIP` for the settings.

    Raises:
        PrefixcapError: If open_clip is not installed, or there is no such model or file, or they do
            not fit each other.
    """
    require("open_clip", "open-clip")
    cache = str(expanded(cache_dir)) if cache_dir else None
    with loading("open-clip", model):
        model, pretrained = _known_names(model, pretrained)
    named = f"{model} with {pretrained}" if pretrained else model
    with loading("open-clip", named, _cure(model, pretrained)):
        import open_clip

        module: Any = open_clip.create_model(
            model,
            pretrained or None,
            cache_dir=cache,
            # open_clip only warns of weights that were trained with another activation
            force_quick_gelu=bool(_published(model, pretrained).get("quick_gelu")),
            pretrained_text=False,
            require_pretrained=True,
            weights_only=True,
        )

    def tokenizer() -> Any:
        with loading("open-clip", f"the tokenizer of {model}"):
            return open_clip.get_tokenizer(model, cache_dir=cache)

    return OpenCLIPEncoder(module.to(device_named(device)), features, tokenizer)


def _known_names(model: str, pretrained: str) -> tuple[str, str]:
    """Return the names by which open_clip knows a model, or the folder of one, and its weights."""
    import open_clip

    name = in_folder(model)
    if ":" in name:
        if pretrained:
            raise PrefixcapError(
                f"model={model!r} has its own weights: leave out pretrained={pretrained!r}"
            )
        return name, ""
    name = name.replace("/", "-")  # as OpenAI writes them
    check_known("model", name, open_clip.list_models())
    tags = open_clip.list_pretrained_tags_by_model(name)
    if not pretrained:
        raise PrefixcapError(
            f"model={model!r} has several sets of weights: choose one by 'pretrained', or give a "
            f"file of weights{nearest('', tags)}"
        )
    if pretrained.lower().replace("-", "_") in tags:
        return name, pretrained
    if not expanded(pretrained).exists():
        hint = nearest(pretrained, tags)
        raise PrefixcapError(
            f"pretrained={pretrained!r} is neither a file nor a set of weights of {name}{hint}"
        )
    return name, str(weights_file(pretrained))


def _published(model: str, pretrained: str) -> dict[str, Any]:
    """Return what open_clip knows of a set of weights; nothing of files."""
    from open_clip import get_pretrained_cfg

    return dict(get_pretrained_cfg(model, pretrained)) if pretrained else {}


def _cure(model: str, pretrained: str) -> str:
    """Say which file to fetch on another machine."""
    published = _published(model, pretrained)
    place = (published.get("hf_hub") or published.get("url") or "").rstrip("/")
    if model.startswith(HUB):
        place = model.removeprefix(HUB)
    if not place:
        return ""
    how = "its folder as 'model'" if model.startswith(HUB) else "its weights as 'pretrained'"
    return f"; without a network, fetch {place} on another machine and give {how}"
