"""A second device in the processor's memory, for machines without a GPU.

Tensors of it cannot be mixed with the processor's, as a GPU's cannot: what is made on the wrong
device, or read by NumPy without a copy, is an error here as it is there. Results are the
processor's, so they can be compared bit by bit. It calls itself "meta", the one device besides the
processor that every build of torch can index.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

PLACE = torch.device("meta")
aten = torch.ops.aten
# a GPU's too take an operand, or an index, from the processor's memory
_MAY_MIX = {
    aten.copy_.default,
    aten._to_copy.default,
    aten.index.Tensor,
    aten.index_put_.default,
    aten.index_put.default,
    aten._index_put_impl_.default,
}


class Elsewhere(Tensor):
    """A tensor on the second device."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> Elsewhere:
        with torch.inference_mode(False):
            result = torch.Tensor._make_wrapper_subclass(
                cls,
                inner.shape,
                strides=inner.stride(),
                storage_offset=inner.storage_offset(),
                dtype=inner.dtype,
                device=PLACE,
            )
        result.inner = inner
        return result

    def tolist(self) -> Any:
        return self.inner.tolist()

    def __repr__(self, **_: object) -> str:
        return f"Elsewhere({self.inner})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Kernels(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CPU"):
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        return _run(func, args, kwargs)


class _Functions(TorchFunctionMode):
    """Intercept tensors that torch creates from lists without the dispatcher."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (torch.tensor, torch.as_tensor) and _is_place(kwargs.get("device")):
            return Elsewhere(func(*args, **{**kwargs, "device": "cpu"}))
        if func in (Tensor.__getitem__, Tensor.__setitem__):
            tensor, at, *rest = args
            at = tuple(map(_index, at)) if isinstance(at, tuple) else _index(at)
            args = (tensor, at, *rest)
        return func(*args, **kwargs)


@contextlib.contextmanager
def second_device() -> Iterator[None]:
    """Make `PLACE` a device that tensors can be created on and moved to."""
    with _Kernels(), _Functions():
        yield


def moved(module: nn.Module) -> nn.Module:
    """Move a module's parameters and buffers to the second device."""
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            there = nn.Parameter(Elsewhere(parameter.detach()), requires_grad=False)
            part.register_parameter(name, there)
        for name, buffer in part.named_buffers(recurse=False):
            setattr(part, name, Elsewhere(buffer))
    return module


def _run(func: Any, args: Any, kwargs: Any) -> Any:
    flat, _ = tree_flatten((args, kwargs))
    tensors = [each for each in flat if isinstance(each, Tensor)]
    there = [each for each in tensors if isinstance(each, Elsewhere)]
    here = [each for each in tensors if not isinstance(each, Elsewhere) and each.ndim > 0]
    assert all(each.device.type == "cpu" for each in here), f"{func}: made behind our back"
    if there and here and func not in _MAY_MIX:
        raise RuntimeError(f"{func}: tensors of two devices")
    if func is aten._fused_sdp_choice.default:
        return 0  # the plain formula
    at_place = bool(there)
    if kwargs.get("device") is not None:
        at_place = _is_place(kwargs["device"])
        kwargs = {**kwargs, "device": torch.device("cpu")}
    if at_place and any(isinstance(each, torch.Generator) for each in flat):
        raise RuntimeError(f"{func}: a generator of another device")
    inner = tree_map(
        lambda each: each.inner if isinstance(each, Elsewhere) else each, (args, kwargs)
    )
    result = func(*inner[0], **inner[1])
    if func._schema.is_mutable and tensors:
        return args[0]
    if not at_place:
        return result
    return tree_map(lambda each: Elsewhere(each) if isinstance(each, Tensor) else each, result)


def _is_place(device: Any) -> bool:
    return device is not None and torch.device(device).type == PLACE.type


def _index(at: Any) -> Any:
    return torch.tensor(at) if isinstance(at, list) else at
