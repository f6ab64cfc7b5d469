"""TODO."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def plausible(scores: Tensor, logits: Tensor, alpha: float) -> Tensor:
    """Leaves scores (R,V) of tokens at least `alpha` times as likely as the likeliest."""
    least = logits.amax(-1, keepdim=True) + math.log(alpha)
    return torch.where(logits >= least, scores, float("-inf"))
