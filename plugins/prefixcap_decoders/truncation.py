"""The transforms that cut a distribution down before a token is drawn: transformers' warpers."""

from __future__ import annotations

from prefixcap_decoders.transforms import Processor, generation


def truncations(*, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> list[Processor]:
    """Makes warpers in the order of transformers' `generate`; a neutral setting gives none."""
    found: list[Processor] = []
    if temperature != 1.0:
        found.append(generation().TemperatureLogitsWarper(temperature))
    if top_k:
        found.append(generation().TopKLogitsWarper(top_k))
    if top_p < 1.0:
        found.append(generation().TopPLogitsWarper(top_p))
    return found
