"""Drawing from a distribution by one uniform number a row."""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK = 256


def draw(logits: Tensor, uniforms: Tensor) -> Tensor:
    """Draws tokens by inverting the distribution function.

    The sum runs over blocks first and then within one block, so that nothing of the vocabulary's
    length is written in double precision and no sum loses small probabilities.

    Args:
        logits: (R,V), of any offset; -inf is never drawn.
        uniforms: (R), float64 in [0,1).

    Returns:
        (R) int64.
    """
    weights = (logits - logits.amax(-1, keepdim=True)).exp_()
    missing = -weights.shape[1] % BLOCK
    blocks = torch.nn.functional.pad(weights, (0, missing)).view(len(weights), -1, BLOCK)
    mass = blocks.sum(-1).double().cumsum(-1)
    target = uniforms[:, None] * mass[:, -1:]
    block = _first_above(mass, target)
    before = torch.where(block > 0, mass.gather(1, (block - 1).clamp(min=0)), 0.0)
    inside = blocks.gather(1, block[:, :, None].expand(-1, -1, BLOCK)).squeeze(1).double()
    offset = _first_above(inside.cumsum(-1), target - before)
    return (block * BLOCK + offset).squeeze(1)


def _first_above(cumulative: Tensor, target: Tensor) -> Tensor:
    # a rounded target may reach the total: the last place that has any mass is meant then
    last = (cumulative < cumulative[:, -1:]).sum(-1, keepdim=True)
    return torch.minimum((cumulative <= target).sum(-1, keepdim=True), last)
