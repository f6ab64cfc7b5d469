"""Drawing tokens, each row from its own stream."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from prefixcap.decoding import TokenDecoder
from prefixcap_decoders.draw import draw
from prefixcap_decoders.transforms import Processor


class Sampler(TokenDecoder):
    """Draws each token from the transformed distribution.

    Args:
        samples: how many captions an image.
        warpers: what the logits go through first.
    """

    def __init__(self, samples: int, warpers: Sequence[Processor]) -> None:
        self._samples = samples
        self._warpers = tuple(warpers)

    @property
    def samples(self) -> int:
        """How many captions an image."""
        return self._samples

    def choose(self, logits: Tensor, uniforms: Tensor, history: Sequence[Sequence[int]]) -> Tensor:
        """Draws tokens (R) from logits (R,V) by uniform numbers (R)."""
        import torch

        nothing = torch.empty(len(logits), 0, dtype=torch.long, device=logits.device)
        for warper in self._warpers:
            logits = warper(nothing, logits)
        return draw(logits, uniforms)
