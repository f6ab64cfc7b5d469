"""Text encoders by spec: the text tower of image encoders such as CLIP."""

from __future__ import annotations

from functools import lru_cache

from prefixcap.interfaces.encoder import Encoder, EncoderConfig
from prefixcap.interfaces.text_encoder import TextEncoder
from prefixcap.plugin import specs
from prefixcap.plugin.registry import Registry, default_registry
from prefixcap.util.runtime import device_named


def text_encoder(
    encoder: str | EncoderConfig | Encoder | TextEncoder,
    *,
    device: str = "cpu",
    registry: Registry | None = None,
) -> TextEncoder:
    """Return the text tower of an encoder, a config or a spec; it is built on first use.

    Raises:
        PrefixcapError: If there is no such encoder, or a setting is wrong.
    """
    if isinstance(encoder, TextEncoder):
        return encoder
    if isinstance(encoder, Encoder):
        return TextEncoder(type(encoder).__name__, lambda: encoder)
    config = (registry or default_registry()).parse(EncoderConfig, encoder)
    return TextEncoder(specs.to_spec(config), lambda: config.build(device), device)


@lru_cache(maxsize=4)
def named_text_encoder(spec: str, device: str = "auto") -> TextEncoder:
    """Return the text tower that a setting names, with ";" between its settings; load it once.

    Raises:
        PrefixcapError: If there is no such encoder, or a setting is wrong.
    """
    return text_encoder(specs.nested(spec), device=device_named(device))
