"""`linear_cross_entropy`: the loss of a projection to the vocabulary without its logits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

if TYPE_CHECKING:
    from prefixcap.engine.teacher_forcing.frozen_linear import FrozenLinear

_VALUES = 1 << 24
"""Logits that are computed at once: 64 MiB in float32."""


def linear_cross_entropy(
    states: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    rows: Tensor,
    targets: Tensor,
    frozen: FrozenLinear | None = None,
) -> Tensor:
    """Compute the summed cross-entropy (), float32, of tokens.

    The logits of a few rows at a time are turned into their gradients at once, so those of a batch
    are never in memory together, and rows that predict several tokens are multiplied once.

    Args:
        states: (U,E).
        weight: (V,E).
        bias: (V) or None.
        rows: (K), the row of `states` that predicts each token.
        targets: (K), the tokens.
        frozen: The same projection with weights in another layout, if they are not trained.
    """
    loss: Tensor = _LinearCrossEntropy.apply(states, weight, bias, rows, targets, frozen)  # type: ignore[no-untyped-call]
    return loss


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        rows: Tensor,
        targets: Tensor,
        frozen: FrozenLinear | None,
    ) -> Tensor:
        wanted = (weight.requires_grad, bias is not None and bias.requires_grad)
        needed = states.requires_grad or any(wanted)
        d_states = torch.empty_like(states) if needed else None
        d_weight = torch.zeros_like(weight) if wanted[0] else None
        d_bias = torch.zeros_like(bias) if bias is not None and wanted[1] else None
        order = rows.argsort(stable=True)
        rows, targets = rows[order], targets[order]
        uses = torch.bincount(rows, minlength=len(states)).to(torch.float32)
        loss = torch.zeros((), device=states.device)
        step = max(1, _VALUES // len(weight))
        for first in range(0, len(states), step):
            part = slice(first, first + step)
            limits = torch.tensor([first, first + step], device=rows.device)
            begin, end = torch.searchsorted(rows, limits).tolist()
            row, target = rows[begin:end] - first, targets[begin:end]
            x = states[part]
            logits = (F.linear(x, weight, bias) if frozen is None else frozen.product(x)).float()
            chosen = logits[row, target]
            if d_states is None:
                loss += (logits.logsumexp(1)[row] - chosen).sum()
                continue
            largest = logits.amax(1)
            probabilities = torch.softmax(logits, 1)
            # torch's softmax is several times as fast as its logsumexp: see `reductions`
            normalizer = largest - probabilities.amax(1).log()
            loss += (normalizer[row] - chosen).sum()
            probabilities.mul_(uses[part, None])
            minus = torch.full_like(chosen, -1.0)
            probabilities.index_put_((row, target), minus, accumulate=True)
            gradient = probabilities.to(states.dtype)
            d_states[part] = gradient @ weight if frozen is None else frozen.gradient(gradient)
            if d_weight is not None:
                d_weight.addmm_(gradient.t(), x)
            if d_bias is not None:
                d_bias += gradient.sum(0)
        ctx.save_for_backward(d_states, d_weight, d_bias)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        scaled = (None if part is None else part * grad.to(part) for part in ctx.saved_tensors)
        return (*scaled, None, None, None)
