"""The product of two narrow matrices added to a layer's output, with fast gradients.

For matrices of a few rows or columns, the time of a product depends on its layout: of the two ways
to write a gradient, autograd takes the one that needs four times as long on a CPU.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_STEPS = 1 << 16
"""Probabilities of dropout are multiples of 1 / 65,536: 16 random bits decide about a value."""


def low_rank_sum(
    y: Tensor, x: Tensor, a: Tensor, b: Tensor, scale: float, dropout: float
) -> Tensor:
    """Compute y + scale b a dropout(x).

    Args:
        y: (...,out).
        x: (...,in).
        a: (r,in).
        b: (out,r).
        scale: The factor.
        dropout: The probability at which values of x count as zero.
    """
    rows, kept = x.flatten(0, -2), None
    if dropout:
        kept, share = kept_at_random(rows, dropout)
        scale /= share
    total: Tensor = _LowRankSum.apply(y.flatten(0, -2), rows, a, b, scale, kept)  # type: ignore[no-untyped-call]
    return total.view(y.shape)


def kept_at_random(x: Tensor, dropout: float) -> tuple[Tensor, float]:
    """Draw which values of a tensor a dropout keeps, from torch's global random state.

    On a CPU this takes less than half of the time of torch's own, which spends 32 random bits and a
    comparison of floating-point numbers on each value.

    Returns:
        A mask of ones, and zeros for what is dropped, and the share that is kept on average.
    """
    steps = round(dropout * _STEPS)
    share = 1 - steps / _STEPS
    if x.device.type != "cpu":
        return (torch.rand_like(x) < share).to(x.dtype), share
    words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    bits = words.view(torch.int16)[: x.numel()]
    return (bits >= steps - _STEPS // 2).to(x.dtype).view(x.shape), share


class _LowRankSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, y: Tensor, x: Tensor, a: Tensor, b: Tensor, scale: float, kept: Tensor | None
    ) -> Tensor:
        seen = x if kept is None else x * kept
        hidden = a @ seen.t()  # (r, R)
        ctx.save_for_backward(seen, hidden, a, b, kept)
        ctx.scale = scale
        return torch.addmm(y, hidden.t(), b.t(), alpha=scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        seen, hidden, a, b, kept = ctx.saved_tensors
        d_b = (hidden @ grad).mul_(ctx.scale).t()
        d_hidden = (b.t().contiguous() @ grad.t()).mul_(ctx.scale)  # (r, R)
        d_x = None
        if ctx.needs_input_grad[1]:
            d_x = d_hidden.t() @ a
            if kept is not None:
                d_x *= kept
        return grad, d_x, d_hidden @ seen, d_b, None, None
