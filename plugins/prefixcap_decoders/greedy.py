"""Greedy search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import attrs

from prefixcap.decoding import TokenDecoder
from prefixcap.kinds import Decoder, DecoderConfig

if TYPE_CHECKING:
    from torch import Tensor


@attrs.frozen(kw_only=True)
class Greedy(DecoderConfig):
    """Takes the likeliest token at each step."""

    name: ClassVar[str] = "greedy"

    def build(self) -> Decoder:
        """Makes the decoder."""
        return GreedyDecoder()


class GreedyDecoder(TokenDecoder):
    """Takes the likeliest token at each step."""

    @property
    def samples(self) -> int:
        """One caption an image."""
        return 1

    def choose(self, logits: Tensor, uniforms: Tensor, history: Sequence[Sequence[int]]) -> Tensor:
        """Chooses the likeliest token (R) of logits (R,V)."""
        return logits.argmax(-1)
