"""How alike images and texts are in the space of an encoder that has both sides, such as CLIP."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from prefixcap.interfaces.encoder import Encoder, EncoderConfig
from prefixcap.interfaces.text_encoder import TextSide
from prefixcap.plugin import specs
from prefixcap.plugin.registry import Registry
from prefixcap.util.runtime import device_named

if TYPE_CHECKING:
    pass


def text_side(
    encoder: str | EncoderConfig | Encoder | TextSide,
    *,
    device: str = "cpu",
    registry: Registry | None = None,
) -> TextSide:
    """Makes the text side of an encoder, of its config, or of its spec; built when first needed.

    Raises:
        PrefixcapError: there is no such encoder, or a setting is wrong.
    """
    if isinstance(encoder, TextSide):
        return encoder
    if isinstance(encoder, Encoder):
        return TextSide(type(encoder).__name__, lambda: encoder)
    config = (registry or Registry()).parse(EncoderConfig, encoder)
    return TextSide(specs.to_spec(config), lambda: config.build(device), device)


@lru_cache(maxsize=4)
def named_text_side(spec: str, device: str = "auto") -> TextSide:
    """Returns the text side that a setting names, its settings parted by ";"; loaded once.

    Raises:
        PrefixcapError: there is no such encoder, or a setting is wrong.
    """
    return text_side(spec.replace(";", ","), device=device_named(device))
