"""Image encoders of transformers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from typing_extensions import override

from prefixcap.captioning.module_encoder import ModuleEncoder, flattened
from prefixcap.errors import PrefixcapError, listed
from prefixcap.util.imports.deferred import deferred
from prefixcap.util.runtime import device_named
from prefixcap_hf.foreign_code import code_of_model, foreign_code_refused, warn_of_code
from prefixcap_hf.loading import NOT_NEEDED, check_path, errors_as_sentences, expand, quiet

if TYPE_CHECKING:
    from PIL import Image

PLACE = "encoder 'hf-vision'"
_UNUSED = ("mask_token", "position_ids")


class HFVisionEncoder(ModuleEncoder):
    """A vision model of transformers, or both towers of a model that compares images with texts.

    Args:
        model: The model.
        processor: Its image processor.
        features: "pooled" or "tokens".
        has_pooler: Whether the weights of its pooler, if it has one, were loaded.
        tokenizer: Makes the tokenizer of its texts; called when the first are encoded.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        features: str,
        has_pooler: bool,
        tokenizer: Callable[[], Any],
    ) -> None:
        super().__init__("hf-vision", model, settings=processor.to_json_string())
        self._processor = processor
        self._pooled = features == "pooled"
        self._has_pooler = has_pooler
        self._make_tokenizer = tokenizer

    @override
    def pixels(self, picture: Image.Image) -> Tensor:
        pixels: Tensor = self._processor(picture, return_tensors="pt")["pixel_values"][0]
        return pixels

    @override
    def features(self, pixels: Tensor) -> Tensor:
        model: Any = self.module
        if self._pooled and _has_two_towers(model):
            return _embedding(model.get_image_features(pixel_values=pixels))
        tower = model.vision_model if _has_two_towers(model) else model
        output = tower(pixel_values=pixels)
        embedding = output.get("image_embeds")
        if not self._pooled:
            return flattened(output.last_hidden_state)
        if embedding is not None:
            return _as_vectors(embedding)
        pooled = output.get("pooler_output") if self._has_pooler else None
        return _as_vectors(output.last_hidden_state[:, 0] if pooled is None else pooled)

    @override
    def encode_text(self, texts: Sequence[str]) -> Tensor | None:
        model: Any = self.module
        if not _has_two_towers(model):
            return None
        tokens = self._tokenizer(
            list(texts),
            padding="max_length",  # as SigLIP was trained; CLIP does not see the padding
            truncation=True,
            max_length=model.config.text_config.max_position_embeddings,
            return_tensors="pt",
        )
        with torch.inference_mode():
            return _embedding(model.get_text_features(**tokens.to(self.device))).float()

    @cached_property
    def _tokenizer(self) -> Any:
        return self._make_tokenizer()


def load_encoder(*, model: str, features: str, revision: str, device: str) -> HFVisionEncoder:
    """Load an image encoder; see `HFVision` for the settings.

    Raises:
        PrefixcapError: If there is no such model, it cannot be loaded, or it encodes no images.
    """
    source = expand(model)
    kwargs = {"revision": revision} if revision else {}
    check_path(source, PLACE)
    with (
        quiet(),
        deferred(NOT_NEEDED),
        errors_as_sentences(model, PLACE),
        foreign_code_refused(model, PLACE) as code,
    ):
        code += code_of_model(source, kwargs, PLACE)
        module, missing = _load_model(source, kwargs)
        processor = _load_processor(source, kwargs)
    warn_of_code(model, code, PLACE)
    pooler = [name for name in missing if name.startswith("pooler.")]
    if lost := [name for name in missing if name not in pooler and not name.endswith(_UNUSED)]:
        raise PrefixcapError(
            f"{PLACE}: the weights of {model!r} are incomplete: they lack {listed(lost)}"
        )

    def tokenizer() -> Any:
        from transformers import AutoTokenizer

        with quiet(), errors_as_sentences(model, PLACE):
            return AutoTokenizer.from_pretrained(source, trust_remote_code=False, **kwargs)

    module = module.to(device_named(device))
    return HFVisionEncoder(module, processor, features, not pooler, tokenizer)


def _load_model(source: str, kwargs: Mapping[str, str]) -> tuple[Any, list[str]]:
    """Return a model and the names of its weights that were not in the files.

    Raises:
        PrefixcapError: If it encodes no images.
    """
    import transformers

    settings = transformers.AutoConfig.from_pretrained(source, trust_remote_code=False, **kwargs)
    names = [name for name in settings.architectures or [] if name.endswith("WithProjection")]
    loader: Any = getattr(transformers, names[0], None) if names else None
    module, info = (loader or transformers.AutoModel).from_pretrained(
        source,
        dtype=torch.float32,
        output_loading_info=True,
        **({} if loader else {"trust_remote_code": False}),
        **kwargs,
    )
    if not _has_two_towers(module) and module.main_input_name != "pixel_values":
        kind = type(module).__name__
        raise PrefixcapError(
            f"{PLACE}: {source!r} is a {kind}, which takes {module.main_input_name} and no images"
        )
    return module, sorted(info["missing_keys"])


def _load_processor(source: str, kwargs: Mapping[str, str]) -> Any:
    from transformers import AutoImageProcessor

    loader: Any = AutoImageProcessor
    # Pillow's resizing, with which the models were trained; torchvision's differs a little
    return loader.from_pretrained(source, backend="pil", trust_remote_code=False, **kwargs)


def _has_two_towers(model: Any) -> bool:
    parts = ("vision_model", "get_image_features", "get_text_features")
    return all(hasattr(model, part) for part in parts)


def _embedding(output: Any) -> Tensor:
    """Return the embedding of a tower, which older versions of transformers returned alone."""
    embedding: Tensor = output if isinstance(output, Tensor) else output.pooler_output
    return embedding


def _as_vectors(pooled: Tensor) -> Tensor:
    """Turn (B,D) or, of convolutional networks, (B,D,1,1) into (B,D)."""
    return pooled.flatten(1)
