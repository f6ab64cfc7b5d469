"""`FrozenLinears`: the layers of a model that are not trained, with weights laid out once."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from prefixcap.engine.linear import PackedLinear, can_pack
from prefixcap.util.memory import available_memory

# The share of the available memory that the copies of weights may take.
_SHARE = 0.5
# Smaller weights gain nothing.
_VALUES = 1 << 18


class FrozenLinear:
    """A linear layer whose gradients go to its input only.

    Two copies of the weight, in the layouts of the processor's kernels (see `PackedLinear`),
    serve the product and the gradient.

    Args:
        layer: A `torch.nn.Linear`, or GPT-2's `Conv1D`, whose weight is stored as (in, out).
    """

    def __init__(self, layer: Any) -> None:
        stored_by_input = not isinstance(layer, nn.Linear)
        self.product = PackedLinear(layer.weight, layer.bias, transposed=stored_by_input)
        self.gradient = PackedLinear(layer.weight, transposed=not stored_by_input)

    def __call__(self, x: Tensor) -> Tensor:
        """Map (...,K) to (...,N)."""
        y: Tensor = _FrozenLinear.apply(x, self)  # type: ignore[no-untyped-call]
        return y


class _FrozenLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: FrozenLinear) -> Tensor:
        ctx.layer = layer
        return torch.unflatten(layer.product(x.flatten(0, -2)), 0, x.shape[:-1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        rows = ctx.layer.gradient(grad.flatten(0, -2))
        return torch.unflatten(rows, 0, grad.shape[:-1]), None


class FrozenLinears:
    """The frozen linear layers of a model, which run as `FrozenLinear` within `with`.

    The weights must not change meanwhile. Small layers and those on other devices than a CPU stay
    as they are, and all do where the copies of the weights would take more than half of the
    available memory.
    """

    def __init__(self, module: nn.Module) -> None:
        layers: list[Any] = [layer for layer in module.modules() if _is_frozen(layer)]
        needed = sum(2 * layer.weight.nbytes for layer in layers)
        free = available_memory() if layers else None
        if free is not None and needed > _SHARE * free:
            layers = []
        self._layers = [(layer, FrozenLinear(layer)) for layer in layers]

    def __enter__(self) -> None:
        for layer, frozen in self._layers:
            layer.forward = frozen

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for layer, _ in self._layers:
            del layer.forward


def frozen_linear(layer: nn.Module) -> FrozenLinear | None:
    """Return what a layer runs as, within `FrozenLinears`."""
    forward = vars(layer).get("forward")
    return forward if isinstance(forward, FrozenLinear) else None


def _is_frozen(layer: Any) -> bool:
    from transformers.pytorch_utils import Conv1D

    # a layer with another `forward`, such as accelerate's, is left alone
    if type(layer) not in (nn.Linear, Conv1D) or "forward" in vars(layer):
        return False
    if layer.weight.numel() < _VALUES:
        return False
    trained = any(parameter.requires_grad for parameter in layer.parameters())
    return not trained and can_pack(layer.weight)
