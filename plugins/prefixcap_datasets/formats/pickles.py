"""Pickles of texts, numbers and tensors, read without running anything in them.

A pickle is a program that may call what it names. Here names stand for nothing but themselves: a
call yields its name and arguments, which are then checked. Only the names that a pickled tensor has
are accepted at all.
"""

from __future__ import annotations

import math
import pickle
import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from typing_extensions import override

from prefixcap.errors import PrefixcapError, describe, shown
from prefixcap.util.text_files import open_file
from prefixcap.util.weights import reason_of

if TYPE_CHECKING:
    from torch import Tensor

TENSOR = "torch._utils._rebuild_tensor_v2"
STORAGE = "torch.storage._load_from_bytes"
HOOKS = "collections.OrderedDict"

Call = tuple[str, tuple[Any, ...]]
"""What a name in a pickle was called with."""


def load_pickle(path: Path) -> Any:
    """Read a pickle; each tensor in it is a `Call` for `as_tensor`.

    Raises:
        PrefixcapError: If it is no pickle, is cut off, or names anything but a tensor's parts.
    """
    with open_file(path, "the pickle") as file:
        try:
            return _Inert(file).load()
        except PrefixcapError as error:
            raise PrefixcapError(f"{path}: {error}") from error
        except Exception as error:  # broken pickles fail in many ways
            reason = describe(error)
            raise PrefixcapError(f"{path}: cannot be read as a pickle: {reason}") from error


def as_tensor(value: Any, place: str) -> Tensor:
    """Return the tensor that a call stands for, on the CPU.

    Raises:
        PrefixcapError: If it is something else, or a tensor that is not contiguous, or is larger
            than its storage.
    """
    name, arguments = _call(value, place)
    if name != TENSOR or len(arguments) < 4:
        raise _no_tensor(value, place)
    flat = _storage(arguments[0], place)
    offset, size, stride = arguments[1:4]
    if not _is_shape(size) or not _is_shape(stride) or not _is_shape((offset,)):
        raise _no_tensor(value, place)
    count = math.prod(size)
    if stride != _contiguous(size) or offset + count > len(flat):
        raise PrefixcapError(
            f"{place}: a tensor of shape {shown(size)} with the strides {shown(stride)} and the "
            f"offset {offset} is not one of {len(flat)} numbers in a row"
        )
    return flat[offset : offset + count].view(size)


class _Inert(pickle.Unpickler):
    """Reads a pickle in which names are only names."""

    @override
    def find_class(self, module_name: str, global_name: str, /) -> Callable[..., Call]:
        name = f"{module_name}.{global_name}"
        if name not in (TENSOR, STORAGE, HOOKS):
            raise PrefixcapError(
                f"not read, because it holds {shown(name)}: only texts, numbers and tensors are "
                "read from pickles, as anything else may run code"
            )

        def call(*arguments: Any) -> Call:
            return name, arguments

        return call

    @override
    def persistent_load(self, pid: Any, /) -> NoReturn:
        raise PrefixcapError("not read, because it refers to something outside of it")


def _storage(value: Any, place: str) -> Tensor:
    """Return all numbers of a storage, which is a file of torch's within the pickle."""
    import torch

    name, arguments = _call(value, place)
    if name != STORAGE or len(arguments) != 1 or not isinstance(arguments[0], bytes):
        raise _no_tensor(value, place)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # this kind of storage is deprecated
        try:
            storage = torch.load(BytesIO(arguments[0]), map_location="cpu", weights_only=True)
            flat = torch.empty(0, dtype=storage.dtype)
            flat.set_(storage.untyped())
        except Exception as error:  # torch, pickle and attributes fail in many ways
            raise PrefixcapError(f"{place}: {reason_of(error)}") from error
    return flat


def _call(value: Any, place: str) -> Call:
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], tuple):
        return value
    raise _no_tensor(value, place)


def _no_tensor(value: Any, place: str) -> PrefixcapError:
    return PrefixcapError(f"{place}: not a tensor of torch, but {shown(value)}")


def _is_shape(value: Any) -> bool:
    return isinstance(value, tuple) and all(type(size) is int and size >= 0 for size in value)


def _contiguous(size: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(math.prod(size[i + 1 :]) for i in range(len(size)))
