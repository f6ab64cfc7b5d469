"""The decoder, in a module of its own that may import torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from prefixcap import TokenDecoder
from prefixcap_example import EpsilonGreedy


class EpsilonGreedyDecoder(TokenDecoder):
    """Chooses tokens; the base class does the rest.

    Args:
        config: Settings.
    """

    def __init__(self, config: EpsilonGreedy) -> None:
        self.config = config

    @property
    def samples(self) -> int:
        """Number of captions per image."""
        return self.config.n

    def choose(self, logits: Tensor, uniforms: Tensor, history: Sequence[Sequence[int]]) -> Tensor:
        """Choose each row's next token (R) from logits (R,V) and uniform numbers (R)."""
        k = min(self.config.k, logits.shape[-1])
        top = logits.topk(k, -1).indices  # (R, k)
        exploring = uniforms < self.config.epsilon
        # a uniform number below epsilon, divided by epsilon, is uniform again: no second one needed
        drawn = (uniforms / max(self.config.epsilon, 1e-12) * k).long().clamp(max=k - 1)
        rank = torch.where(exploring, drawn, torch.zeros_like(drawn))
        return top.gather(-1, rank[:, None]).squeeze(-1)
