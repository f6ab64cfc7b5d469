"""Linear layers with their weights laid out once for the processor's matrix kernels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

_ROWS = 320
# from so many rows on, MKL's products by columns are the faster ones where `_has_fast_mkl`
_COLUMNS_FROM = 128
# columns that are no multiple of this cost MKL up to a quarter more
_COLUMNS = 8
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


@cache
def _has_fast_mkl(dtype: torch.dtype) -> bool:
    """Whether MKL multiplies weights (N,K) with many columns (K,R) faster than oneDNN does.

    So it is without AVX-512, by up to a seventh (`benchmarks/products.py`).
    """
    return (
        dtype == torch.float32
        and torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
        and torch.backends.cpu.get_cpu_capability() == "AVX2"
    )


def spare(x: Tensor) -> int:
    """How many rows to add to (R,K) so that `Linear` multiplies at its best."""
    if len(x) < _COLUMNS_FROM or not can_pack(x) or not _has_fast_mkl(x.dtype):
        return 0
    return -len(x) % _COLUMNS


class Linear:
    """A linear layer, perhaps with an activation or a sum fused into it.

    On a CPU, oneDNN's packed kernels are used: in float32 they are as exact as the others (the
    order of sums differs), and faster, above all for few rows and for the vocabulary. Where MKL is
    faster for many rows, it takes the weights as the model has them, so no further copy is kept.

    Args:
        weight: (N,K), or (K,N) where `transposed`.
        bias: (N), or none.
        transposed: whether the weight is stored as GPT-2's `Conv1D` does.
        activation: transformers' name of an activation to apply.
        parts: the weights and biases that the model has one by one, and that these join.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        *,
        transposed: bool = False,
        activation: str | None = None,
        parts: Sequence[tuple[Tensor, Tensor | None]] = (),
    ) -> None:
        weight = weight.detach().t() if transposed else weight.detach()
        self._bias = None if bias is None else bias.detach()
        self._weight = weight
        self._packed = can_pack(weight)
        self._columns_from = math.inf
        self._parts: list[tuple[Tensor, Tensor | None]] = []
        self._fused = _NONE
        self._activation = None if activation is None else function(activation)
        if not self._packed:
            return
        ops: Any = torch.ops.mkldnn
        self._weight = ops._reorder_linear_weight(weight.contiguous(), _ROWS)
        if _has_fast_mkl(weight.dtype):
            self._parts = [(w.detach(), b) for w, b in parts] or [(weight, self._bias)]
            self._columns_from = _COLUMNS_FROM
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

    def either(self, x: Tensor) -> Tensor:
        """Maps (R,K) to (R,N), laid out by rows or by columns: whichever is faster."""
        if len(x) < self._columns_from:
            return self(x)
        return self._activated(self._columns(x).t())

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        """Maps x (R,K) to (R,N) and adds other (R,N); x may be laid out by columns."""
        if not self._packed:
            return F.linear(x, self._weight, self._bias) + other
        if len(x) >= self._columns_from:
            return other + self._columns(x).t()
        ops: Any = torch.ops.mkldnn
        found: Tensor = ops._linear_pointwise.binary(x, other, self._weight, self._bias, "add")
        return found

    def _activated(self, x: Tensor) -> Tensor:
        return x if self._activation is None else self._activation(x)

    def _columns(self, x: Tensor) -> Tensor:
        """Maps (R,K) to (N,R) by MKL."""
        sizes = [len(weight) for weight, _ in self._parts]
        found = x.new_empty(sum(sizes), len(x))
        for (weight, bias), part in zip(self._parts, torch.split(found, sizes), strict=True):
            if bias is None:
                torch.mm(weight, x.t(), out=part)
            else:
                torch.addmm(bias[:, None], weight, x.t(), out=part)
        return found


def function(activation: str) -> Callable[[Tensor], Tensor]:
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
