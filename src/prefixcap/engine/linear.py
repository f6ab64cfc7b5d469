"""Linear layers with their weights laid out once for the processor's matrix kernels."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

_ROWS = 320
_NONE = ("none", "")
_RELU = {"relu": ("relu", "")}
# in float32, oneDNN takes several times as long for these as a pass over the product does
_GELU = {"gelu_new": ("gelu", "tanh"), "gelu": ("gelu", "none")}
_FUSED = {torch.float32: _RELU, torch.bfloat16: _RELU | _GELU}
_TANH = math.sqrt(8 / math.pi)


def can_pack(weight: Tensor) -> bool:
    """Whether oneDNN's packed products serve this weight."""
    return (
        weight.device.type == "cpu"
        and weight.dtype in (torch.float32, torch.bfloat16)
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and _packs(weight.dtype)
    )


@cache
def _packs(dtype: torch.dtype) -> bool:
    """Tries it: which instructions oneDNN wants for bfloat16 depends on its version."""
    ops: Any = torch.ops.mkldnn
    try:
        weight = ops._reorder_linear_weight(torch.ones(8, 8, dtype=dtype), 1)
        found = ops._linear_pointwise(torch.ones(1, 8, dtype=dtype), weight, None, "none", [], "")
    except (AttributeError, RuntimeError):
        return False
    return bool((found == 8).all())


class PackedLinear:
    """A linear layer, perhaps with an activation or a sum fused into it.

    On a CPU, oneDNN's packed kernels are used: in float32 they are as exact as the others (the
    order of sums differs), and faster, above all for few rows and for the vocabulary.

    Args:
        weight: (N,K), or (K,N) where `transposed`.
        bias: (N), or none.
        transposed: whether the weight is stored as GPT-2's `Conv1D` does.
        activation: transformers' name of an activation to apply.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        *,
        transposed: bool = False,
        activation: str | None = None,
    ) -> None:
        weight = weight.detach().t() if transposed else weight.detach()
        self._bias = None if bias is None else bias.detach()
        self._weight = weight
        self._packed = can_pack(weight)
        self._fused = _NONE
        self._activation = None if activation is None else activation_function(activation)
        if not self._packed:
            return
        ops: Any = torch.ops.mkldnn
        self._weight = ops._reorder_linear_weight(weight.contiguous(), _ROWS)
        if activation in _FUSED[weight.dtype]:
            self._fused = _FUSED[weight.dtype][activation]
        elif activation == "gelu_new":
            self._activation = gelu_

    def __call__(self, x: Tensor) -> Tensor:
        """Maps (R,K) to (R,N)."""
        if not self._packed:
            return self._activated(F.linear(x, self._weight, self._bias))
        kind, how = self._fused
        ops: Any = torch.ops.mkldnn
        found: Tensor = ops._linear_pointwise(x, self._weight, self._bias, kind, [], how)
        return found if self._fused != _NONE else self._activated(found)

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        """Maps x (R,K) to (R,N) and adds other (R,N)."""
        if not self._packed:
            return F.linear(x, self._weight, self._bias) + other
        ops: Any = torch.ops.mkldnn
        found: Tensor = ops._linear_pointwise.binary(x, other, self._weight, self._bias, "add")
        return found

    def _activated(self, x: Tensor) -> Tensor:
        return x if self._activation is None else self._activation(x)


def activation_function(activation: str) -> Callable[[Tensor], Tensor]:
    """Finds transformers' activation of that name."""
    from transformers.activations import ACT2FN

    if activation == "gelu_new":  # one call to torch, where theirs are eight
        return partial(F.gelu, approximate="tanh")
    found: Callable[[Tensor], Tensor] = ACT2FN[activation]
    return found


def gelu_(x: Tensor) -> Tensor:
    """Applies GELU in its tanh form (Hendrycks 2016, `gelu_new`) to x, in place.

    As (1 + tanh z) / 2 is the logistic function of 2 z, which torch computes several times as
    fast on a CPU, it is x times the logistic function of sqrt(8 / pi) (x + 0.044715 x^3).
    """
    slope = torch.addcmul(x.new_tensor(_TANH), x, x, value=0.044715 * _TANH)
    return x.mul_(slope.mul_(x).sigmoid_())
