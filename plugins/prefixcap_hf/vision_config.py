"""Config of the encoder `hf-vision`."""

from __future__ import annotations

from typing import ClassVar

import attrs
from typing_extensions import override

from prefixcap.interfaces.component import PATH
from prefixcap.interfaces.encoder import Encoder, EncoderConfig
from prefixcap.interfaces.validators import one_of, path_text


@attrs.frozen(kw_only=True)
class HFVision(EncoderConfig):
    """Any image encoder of transformers, such as CLIP, SigLIP, DINOv2 or ViT.

    Models with two towers, such as CLIP and SigLIP, encode texts too.

    Attributes:
        model: Name on the hub, or folder.
        features: "pooled" for a vector per image (B,D): the embedding of a model with two towers,
            otherwise the pooler's output, or the class token of a model without a trained pooler.
            "tokens" for the last hidden state (B,N,D), its class token included.
        revision: Branch, tag or commit on the hub.
    """

    name: ClassVar[str] = "hf-vision"

    model: str = attrs.field(
        default="openai/clip-vit-base-patch32",
        validator=[attrs.validators.min_len(1), path_text],
        metadata=PATH,
    )
    features: str = attrs.field(default="pooled", validator=one_of(("pooled", "tokens")))
    revision: str = ""

    @property
    @override
    def depends_on_index(self) -> bool:
        return False

    @override
    def build(self, device: str = "cpu") -> Encoder:
        from prefixcap_hf.vision import load_encoder

        return load_encoder(device=device, **attrs.asdict(self))
