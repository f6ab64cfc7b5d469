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
    return invert((logits - logits.amax(-1, keepdim=True)).exp_(), uniforms)


def draw_from_nucleus(logits: Tensor, uniforms: Tensor, top_p: float) -> Tensor:
    """Draws tokens from the smallest set whose probabilities sum to `top_p` or more, unsorted.

    A token belongs to the nucleus when those before it have less than `top_p` together: the
    likelier ones, and the equally likely ones of lower numbers. So one is drawn from the whole
    distribution and kept if it belongs; if not, one is drawn from those before it, which hold all
    of the nucleus. Rejection leaves the nucleus' own distribution, and the vocabulary is never
    sorted.

    Args:
        logits: (R,V).
        uniforms: (R), float64 in [0,1).
        top_p: from 0 (the likeliest token) to 1.

    Returns:
        (R) int64.
    """
    weights = (logits - logits.amax(-1, keepdim=True)).exp_()
    enough = weights.sum(-1, keepdim=True) * top_p
    tokens = invert(weights, uniforms)
    open_rows = torch.arange(len(tokens), device=tokens.device)
    numbers = torch.arange(weights.shape[1], device=tokens.device)
    while len(open_rows):
        token = tokens[open_rows, None]
        drawn = weights.gather(1, token)
        before = weights * ((weights > drawn) | ((weights == drawn) & (numbers < token)))
        mass = before.sum(-1, keepdim=True)
        rejected = ((mass > 0) & (mass >= enough)).squeeze(1).nonzero().squeeze(1)
        open_rows, enough, weights = open_rows[rejected], enough[rejected], before[rejected]
        uniforms = _next(uniforms[rejected])
        tokens[open_rows] = invert(weights, uniforms)
    return tokens


def _next(uniforms: Tensor) -> Tensor:
    """Makes the next numbers of streams from the present ones (R): splitmix64's mixing."""
    state = (uniforms * 2.0**53).long() + -7046029254386353131
    state = (state ^ _shift(state, 30)) * -4658895280553007687
    state = (state ^ _shift(state, 27)) * -7723592293110705685
    return _shift(state ^ _shift(state, 31), 11).double() / 2.0**53


def _shift(state: Tensor, bits: int) -> Tensor:
    # a shift that brings in zeros: torch's own brings in the sign
    return (state >> bits) & ((1 << (64 - bits)) - 1)


def invert(weights: Tensor, uniforms: Tensor) -> Tensor:
    """Draws tokens (R) in proportion to weights (R,V) by uniform numbers (R), float64."""
    count = -(-weights.shape[1] // BLOCK)
    padded = torch.nn.functional.pad(weights, (0, count * BLOCK - weights.shape[1]))
    blocks = padded.view(len(weights), count, BLOCK)
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
