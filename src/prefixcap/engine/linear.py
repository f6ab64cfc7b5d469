"""`PackedLinear`: linear layers whose weights are laid out once for the processor's kernels."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

# oneDNN chooses a weight's layout for an expected number of rows.
_EXPECTED_ROWS = 320
_NONE = ("none", "")
_RELU = {"relu": ("relu", "")}
_GELU = {"gelu_new": ("gelu", "tanh"), "gelu": ("gelu", "none")}
# In float32, oneDNN's fused GELUs take several times as long as a separate pass over the product.
_FUSED = {torch.float32: _RELU, torch.bfloat16: _RELU | _GELU}
_TANH = math.sqrt(8 / math.pi)
_OPS: Any = torch.ops.mkldnn


def can_pack(weight: Tensor) -> bool:
    """Return whether oneDNN's packed products support this weight."""
    return (
        weight.device.type == "cpu"
        and weight.dtype in (torch.float32, torch.bfloat16)
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and _packs(weight.dtype)
    )


@cache
def _packs(dtype: torch.dtype) -> bool:
    # Tried out, because the instructions that bfloat16 requires depend on oneDNN's version.
    try:
        weight = _OPS._reorder_linear_weight(torch.ones(8, 8, dtype=dtype), 1)
        product = _OPS._linear_pointwise(
            torch.ones(1, 8, dtype=dtype), weight, None, "none", [], ""
        )
    except (AttributeError, RuntimeError):
        return False
    return bool((product == 8).all())


class PackedLinear:
    """A linear layer, optionally with an activation or a sum fused into it.

    On a CPU it uses oneDNN's packed kernels: in float32 they are as exact as others (sums are
    ordered differently) and faster, above all for few rows and for the vocabulary.

    Args:
        weight: (N,K), or (K,N) if `transposed`.
        bias: (N), or None.
        transposed: Whether the weight is stored as in GPT-2's `Conv1D`.
        activation: The name of an activation in transformers, applied to the result.
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
        self._weight = _OPS._reorder_linear_weight(weight.contiguous(), _EXPECTED_ROWS)
        if activation in _FUSED[weight.dtype]:
            self._fused = _FUSED[weight.dtype][activation]
        elif activation == "gelu_new":
            self._activation = gelu_

    def __call__(self, x: Tensor) -> Tensor:
        """Map (R,K) to (R,N)."""
        if not self._packed:
            return self._activated(F.linear(x, self._weight, self._bias))
        kind, algorithm = self._fused
        y: Tensor = _OPS._linear_pointwise(x, self._weight, self._bias, kind, [], algorithm)
        return y if self._fused != _NONE else self._activated(y)

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        """Map x (R,K) to (R,N) and add other (R,N), such as a residual."""
        if not self._packed:
            return F.linear(x, self._weight, self._bias) + other
        y: Tensor = _OPS._linear_pointwise.binary(x, other, self._weight, self._bias, "add")
        return y

    def _activated(self, x: Tensor) -> Tensor:
        return x if self._activation is None else self._activation(x)


def activation_function(name: str) -> Callable[[Tensor], Tensor]:
    """Return the activation of that name in transformers."""
    from transformers.activations import ACT2FN

    if name == "gelu_new":  # one kernel of torch instead of eight operations
        return partial(F.gelu, approximate="tanh")
    activation: Callable[[Tensor], Tensor] = ACT2FN[name]
    return activation


def gelu_(x: Tensor) -> Tensor:
    """Apply GELU in its tanh form (Hendrycks 2016, `gelu_new`) in place.

    Since (1 + tanh z) / 2 = sigmoid(2 z), and torch's sigmoid is several times as fast as its tanh
    on a CPU, this computes x * sigmoid(sqrt(8 / pi) (x + 0.044715 x^3)).
    """
    slope = torch.addcmul(x.new_tensor(_TANH), x, x, value=0.044715 * _TANH)
    return x.mul_(slope.mul_(x).sigmoid_())
