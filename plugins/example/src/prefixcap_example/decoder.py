"""The decoder itself: imported when it is built, so that it may import torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from prefixcap import TokenDecoder
from prefixcap_example import EpsilonGreedy


class EpsilonGreedyDecoder(TokenDecoder):
    """Chooses tokens; the engine does all the rest.

    Args:
        config: epsilon, k and n.
    """

    def __init__(self, config: EpsilonGreedy) -> None:
        self.config = config

    @property
    def samples(self) -> int:
        """How many captions an image."""
        return self.config.n

    def choose(self, logits: Tensor, uniforms: Tensor, history: Sequence[Sequence[int]]) -> Tensor:
        """Chooses each row's next token (R) of logits (R,V) and uniform numbers (R).

        A number below epsilon, divided by epsilon, is uniform again: it says which of the k
        likeliest tokens is taken. So one number a step is enough.
        """
        k = min(self.config.k, logits.shape[-1])
        likeliest = logits.topk(k, -1).indices
        exploring = uniforms < self.config.epsilon
        drawn = (uniforms / max(self.config.epsilon, 1e-12) * k).long().clamp(max=k - 1)
        rank = torch.where(exploring, drawn, torch.zeros_like(drawn))
        return likeliest.gather(-1, rank[:, None]).squeeze(-1)
