"""How alike images and texts are in the space of an encoder that has both sides, such as CLIP."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from prefixcap.interfaces.encoder import Encoder, EncoderConfig
from prefixcap.interfaces.text_encoder import TextEncoder
from prefixcap.plugin import specs
from prefixcap.plugin.registry import Registry, default_registry
from prefixcap.util.runtime import device_named

if TYPE_CHECKING:
    pass


def text_encoder(
    encoder: str | EncoderConfig | Encoder | TextEncoder,
    *,
    device: str = "cpu",
    registry: Registry | None = None,
) -> TextEncoder:
    """Makes the text side of an encoder, of its config, or of its spec; built when first needed.

    Raises:
        PrefixcapError: there is no such encoder, or a setting is wrong.
    """
    if isinstance(encoder, TextEncoder):
        return encoder
    if isinstance(encoder, Encoder):
        return TextEncoder(type(encoder).__name__, lambda: encoder)
    config = (registry or default_registry()).parse(EncoderConfig, encoder)
    return TextEncoder(specs.to_spec(config), lambda: config.build(device), device)


@lru_cache(maxsize=4)
def named_text_encoder(spec: str, device: str = "auto") -> TextEncoder:
    """Returns the text side that a setting names, its settings parted by ";"; loaded once.

    Raises:
        PrefixcapError: there is no such encoder, or a setting is wrong.
    """
    return text_encoder(spec.replace(";", ","), device=device_named(device))
