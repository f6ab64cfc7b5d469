"""Configs of the encoders."""

from __future__ import annotations

from typing import ClassVar

import attrs
from typing_extensions import override

from prefixcap.interfaces.component import PART, PATH
from prefixcap.interfaces.encoder import Encoder, EncoderConfig
from prefixcap.interfaces.validators import one_of, path_text

FEATURES = ("pooled", "tokens")


@attrs.frozen(kw_only=True)
class OpenCLIP(EncoderConfig):
    """Any model of open_clip (Cherti et al. 2023, arXiv:2212.07143), with its text tower.

    Attributes:
        model: One of open_clip's models, such as ViT-B-32, `hf-hub:` and a repository, or a folder
            with an open_clip_config.json and weights.
        pretrained: One of the model's sets of weights, such as laion2b_s34b_b79k, or a file of
            weights; a folder or repository has its own.
        features: "pooled" for image embeddings (B,D), "tokens" for the last layer's patches
            (B,N,D).
        cache_dir: Folder of downloaded models; default: the hub's cache.
    """

    name: ClassVar[str] = "open-clip"

    model: str = attrs.field(
        default="ViT-B-32", validator=[attrs.validators.min_len(1), path_text], metadata=PATH
    )
    pretrained: str = attrs.field(default="", validator=path_text, metadata=PATH)
    features: str = attrs.field(default="pooled", validator=one_of(FEATURES))
    cache_dir: str = attrs.field(default="", validator=path_text, metadata=PART)

    @property
    @override
    def depends_on_index(self) -> bool:
        return False

    @override
    def build(self, device: str = "cpu") -> Encoder:
        from prefixcap_vision.open_clip_encoder import load

        return load(device=device, **attrs.asdict(self))


@attrs.frozen(kw_only=True)
class Timm(EncoderConfig):
    """Any image model of timm (Wightman 2019, github.com/huggingface/pytorch-image-models).

    Its classifier is left out. It has no text tower.

    Attributes:
        model: One of timm's models, such as vit_base_patch16_224 or resnet50.a1_in1k, `hf-hub:` and
            a repository, or a folder with a config.json and weights.
        weights: A file of weights; default: those that timm downloads for the model.
        remap: Whether the file's tensors are taken in their order, whatever they are called; each
            must have the shape of the model's.
        features: "pooled" for a vector per image (B,D), "tokens" for the last layer's patches or
            cells (B,N,D).
        cache_dir: Folder of downloaded weights; default: the hub's cache.
    """

    name: ClassVar[str] = "timm"

    model: str = attrs.field(
        default="vit_base_patch16_224",
        validator=[attrs.validators.min_len(1), path_text],
        metadata=PATH,
    )
    weights: str = attrs.field(default="", validator=path_text, metadata=PATH)
    remap: bool = False
    features: str = attrs.field(default="pooled", validator=one_of(FEATURES))
    cache_dir: str = attrs.field(default="", validator=path_text, metadata=PART)

    @property
    @override
    def depends_on_index(self) -> bool:
        return False

    @override
    def build(self, device: str = "cpu") -> Encoder:
        from prefixcap_vision.timm_encoder import load

        return load(device=device, **attrs.asdict(self))
