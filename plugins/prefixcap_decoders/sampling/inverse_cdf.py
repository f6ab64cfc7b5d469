"""Drawing from a distribution with one uniform number per row."""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK = 256


def draw(logits: Tensor, uniforms: Tensor) -> Tensor:
    """Draw tokens by inverting the cumulative distribution function.

    Args:
        logits: (R,V), up to a constant per row; -inf is never drawn.
        uniforms: (R), float64 in [0,1).

    Returns:
        (R) int64.
    """
    return invert((logits - logits.amax(-1, keepdim=True)).exp_(), uniforms)


def draw_from_nucleus(logits: Tensor, uniforms: Tensor, top_p: float) -> Tensor:
    """Draw tokens from the smallest set with a probability of at least `top_p`, without sorting.

    A token is in the nucleus if the tokens before it (more likely ones, and equally likely ones
    with a lower id) have less than `top_p` together. So draw from the full distribution and accept
    the token if it is in the nucleus; otherwise draw from those before it, which contain the whole
    nucleus. Rejection leaves exactly the nucleus' distribution.

    Args:
        logits: (R,V).
        uniforms: (R), float64 in [0,1).
        top_p: 0 (the most likely token) to 1.

    Returns:
        (R) int64.
    """
    weights = (logits - logits.amax(-1, keepdim=True)).exp_()
    enough = weights.sum(-1, keepdim=True) * top_p
    tokens = invert(weights, uniforms)
    pending = torch.arange(len(tokens), device=tokens.device)
    ids = torch.arange(weights.shape[1], device=tokens.device)
    while len(pending):
        token = tokens[pending, None]
        drawn = weights.gather(1, token)
        before = weights * ((weights > drawn) | ((weights == drawn) & (ids < token)))
        mass = before.sum(-1, keepdim=True)
        rejected = ((mass > 0) & (mass >= enough)).squeeze(1).nonzero().squeeze(1)
        pending, enough, weights = pending[rejected], enough[rejected], before[rejected]
        uniforms = _next(uniforms[rejected])
        tokens[pending] = invert(weights, uniforms)
    return tokens


def _next(uniforms: Tensor) -> Tensor:
    """Return the next numbers of random streams from their current ones (R), by splitmix64."""
    state = (uniforms * 2.0**53).long() + -7046029254386353131
    state = (state ^ _shift(state, 30)) * -4658895280553007687
    state = (state ^ _shift(state, 27)) * -7723592293110705685
    return _shift(state ^ _shift(state, 31), 11).double() / 2.0**53


def _shift(state: Tensor, bits: int) -> Tensor:
    # a logical shift; torch's own shift of signed integers is arithmetic
    return (state >> bits) & ((1 << (64 - bits)) - 1)


def invert(weights: Tensor, uniforms: Tensor) -> Tensor:
    """Draw tokens (R) in proportion to weights (R,V) with uniform numbers (R), float64.

    Cumulative sums run over blocks, then within one block: nothing of the vocabulary's length is
    written in double precision, and no sum loses small probabilities.
    """
    count = -(-weights.shape[1] // BLOCK)
    padded = torch.nn.functional.pad(weights, (0, count * BLOCK - weights.shape[1]))
    blocks = padded.view(len(weights), count, BLOCK)  # (R, V) -> (R, blocks, 256)
    mass = blocks.sum(-1).double().cumsum(-1)
    target = uniforms[:, None] * mass[:, -1:]
    block = _first_above(mass, target)
    before = torch.where(block > 0, mass.gather(1, (block - 1).clamp(min=0)), 0.0)
    inside = blocks.gather(1, block[:, :, None].expand(-1, -1, BLOCK)).squeeze(1).double()
    offset = _first_above(inside.cumsum(-1), target - before)
    return (block * BLOCK + offset).squeeze(1)


def _first_above(cumulative: Tensor, target: Tensor) -> Tensor:
    # rounding may lift the target to the total: then take the last place with any mass
    last = (cumulative < cumulative[:, -1:]).sum(-1, keepdim=True)
    return torch.minimum((cumulative <= target).sum(-1, keepdim=True), last)
